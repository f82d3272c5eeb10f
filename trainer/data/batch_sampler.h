// Deals a dataset out in batches: every epoch a new order, drawn from the seed alone, so that a run resumed at step n sees what the run
// that was killed would have seen.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/base/status.h"
#include "trainer/data/example.h"

namespace switchyard::trainer {

// Examples laid end to end, no padding: every row is a real token. The last token of an example is only ever a target: it has no row, as it
// has none when the server scores.
struct PackedBatch {
  struct Segment {
    int32_t begin = 0, end = 0;  // rows of one example
    int32_t domain = 0;
  };
  std::vector<int32_t> tokens;    // [T]
  std::vector<Segment> segments;  // covering [0, T) in order
  std::vector<int32_t> rows;      // [A] rows whose next token is predicted, ascending
  std::vector<int32_t> targets;   // [A] that token
};

// REQUIRES: indices of examples; each has at least two tokens.
PackedBatch Pack(const Dataset& dataset, const std::vector<int64_t>& examples);

// Thread-compatible. Its whole state is (seed, next example): cheap to save.
class BatchSampler {
 public:
  // `examples_per_batch` examples a batch; a batch may reach into the next epoch. Borrows the dataset.
  BatchSampler(const Dataset& dataset, int64_t examples_per_batch, uint64_t seed);

  std::vector<int64_t> Next();                    // indices into dataset.examples
  int64_t consumed() const { return consumed_; }  // examples dealt so far
  void Seek(int64_t consumed);                    // as if so many had been dealt
  double epoch() const;                           // consumed / size

 private:
  void Shuffle(int64_t epoch);
  const Dataset& dataset_;
  int64_t examples_per_batch_;
  uint64_t seed_;
  int64_t consumed_ = 0;
  int64_t shuffled_epoch_ = -1;
  std::vector<int64_t> order_;
};

}  // namespace switchyard::trainer
