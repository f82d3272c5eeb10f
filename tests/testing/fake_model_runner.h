// FakeModelRunner: a ModelRunner without a model, whose answers reveal every mistake of the runtime in front of it.
//
// It keeps a fake KV pool: every slot remembers the token, the position and a hash over everything its writer had seen. A row's answers are
// a function of the hash over what it really reads through its slots, so a mixed-up block changes results; and each slot read is compared
// with what the row's own history says must be there, so that it is also reported.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "engine/runtime/model_runner.h"

namespace switchyard {

// What the fake answers, computed without any engine: the oracle of tests.
namespace fake {
uint64_t PrefixHash(const SnapshotInfo& info, const RoutingPolicy& policy, std::span<const TokenId> tokens);
std::vector<float> Logits(uint64_t hash, int32_t vocab_size);
StepResult::LogProb LogProb(uint64_t hash, int32_t vocab_size, TokenId target);
std::vector<TokenLogProb> TopLogProbs(uint64_t hash, int32_t vocab_size, int32_t count);
// One row of the trace: [layers][k].
RouteTrace Routes(uint64_t hash, const SnapshotInfo& info, const RoutingPolicy& policy, int32_t position);
}  // namespace fake

class FakeSnapshot final : public Snapshot {
 public:
  explicit FakeSnapshot(SnapshotInfo info) : info_(std::move(info)) {}
  const SnapshotInfo& info() const override { return info_; }

 private:
  const SnapshotInfo info_;
};

// Run is for the engine thread; everything else is thread-safe.
class FakeModelRunner final : public ModelRunner {
 public:
  struct Options {
    int32_t vocab_size = 61;
    int32_t num_blocks = 64;
    int32_t block_tokens = 4;
    int32_t max_positions = 200;
    int32_t num_layers = 3;
    int32_t num_experts = 4;  // the last one is zero
    int32_t top_k = 2;
    bool has_router = true;
    std::vector<TokenId> eos_tokens = {1};
    bool keep_steps = true;  // false: no records, which look like a leak in long runs; FailStep, PoisonStep and steps() need them
  };
  struct StepRecord {
    int32_t rows = 0;
    int32_t segments = 0;
    int32_t single_row_segments = 0;
    int32_t log_prob_queries = 0;
    std::string generation;
  };

  FakeModelRunner() : FakeModelRunner(Options{}) {}
  explicit FakeModelRunner(const Options& options);

  std::shared_ptr<const Snapshot> snapshot() const override;
  KvGeometry kv() const override {
    return {.block_tokens = options_.block_tokens, .num_blocks = options_.num_blocks, .bytes_per_token = 8};
  }
  StatusOr<StepResult> Run(const Step& step) override;

  // New tasks run on another generation from now on.
  void Swap(const std::string& generation);
  // Steps count from 1.
  void FailStep(uint64_t step);                      // INTERNAL after its slots were overwritten with rubbish
  void FailSegment(uint64_t step, int32_t segment);  // it alone, the rest is computed
  void PoisonStep(uint64_t step);                    // every logit and log-probability of it is NaN

  // The next Run waits at its beginning until Resume.
  void Hold();
  void WaitUntilHeld();  // until a Run waits
  void StepOnce();       // lets the waiting Run go, and holds the next one
  void Resume();

  std::vector<StepRecord> steps() const;
  // Broken rules of model_runner.h, in words; empty when there was none.
  std::vector<std::string> violations() const;

 private:
  struct Slot {
    bool written = false;
    int32_t position = 0;
    TokenId token = 0;
    uint64_t hash = 0;  // of the prefix up to and with it
  };

  void WaitWhileHeld();
  Status CheckShape(const Step& step) const;
  Status Write(const Step& step);
  // Fills hashes_ for the rows of the segment.
  Status Attend(const Step& step, const Segment& segment);
  StepResult Answer(const Step& step, bool poisoned) const;
  void Count(const RouteTrace& routes, const SnapshotInfo& info, RouteCounts* counts) const;
  static void CountFlips(const RouteTrace& before, const RouteTrace& here, RouteCounts* counts);
  StatusOr<StepResult> Compute(const Step& step, bool poisoned);

  const Options options_;

  // Used only by Run.
  std::vector<Slot> slots_;
  std::vector<uint64_t> hashes_;  // [T] of the step

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  std::shared_ptr<const Snapshot> snapshot_;
  bool hold_ = false;
  bool held_ = false;
  uint64_t passes_ = 0;  // Runs that may go although hold_ is set
  std::set<uint64_t> failing_steps_;
  std::map<uint64_t, int32_t> failing_segments_;
  std::set<uint64_t> poisoned_steps_;
  std::vector<StepRecord> steps_;
  std::vector<std::string> violations_;
};

}  // namespace switchyard
