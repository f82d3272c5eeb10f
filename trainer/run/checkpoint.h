// Checkpoints of a run: everything a killed run needs to take the identical next step.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "trainer/run/adamw.h"

namespace switchyard::trainer {

// What is not a tensor.
struct RunState {
  int64_t step = 0;      // steps done
  int64_t consumed = 0;  // examples dealt
  std::string identity;  // hash of options, data and base: a checkpoint of another run is refused
  double best_loss = 0;  // validation loss of the best parameters; meaningless while best_step < 0
  int64_t best_step = -1;
};

// A directory RUN/checkpoints/step-N holding state.json and state.safetensors (values, moments, and the best values so far), written beside
// its name and renamed: a kill at any moment leaves the last whole one. Thread-compatible.
class CheckpointStore {
 public:
  CheckpointStore(std::string directory, int keep = 2) : directory_(std::move(directory)), keep_(keep) {}

  // `best`: in the order of the parameters; empty while there is none.
  Status Save(const RunState& state, AdamW& optimizer, const std::vector<at::Tensor>& best) const;
  // The newest whole one, or nothing. Why newer ones could not be used is added to `damaged`; when none can be, the newest one's DATA_LOSS.
  // FAILED_PRECONDITION when it belongs to another run (`identity`) or does not fit the parameters. On error the parameters are anything.
  StatusOr<std::optional<RunState>> Restore(const std::string& identity, AdamW& optimizer, std::vector<at::Tensor>* best,
                                            std::vector<std::string>* damaged) const;
  Status RemoveAll() const;

 private:
  std::vector<int64_t> Steps() const;  // ascending
  StatusOr<RunState> RestoreOne(const std::string& path, const std::string& identity, AdamW& optimizer,
                                std::vector<at::Tensor>* best) const;
  std::string PathOf(int64_t step) const;
  const std::string directory_;
  const int keep_;
};

}  // namespace switchyard::trainer
