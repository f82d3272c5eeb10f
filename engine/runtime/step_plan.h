// StepPlan: one step in the making. Tasks add their rows and questions and remember the indices under which the answers will come.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "engine/runtime/model_runner.h"

namespace switchyard {

// Used only on the engine thread; lives for one step. Slots, policies and tokens are borrowed until the step has run.
class StepPlan {
 public:
  explicit StepPlan(std::shared_ptr<const Snapshot> snapshot) { step_.snapshot = std::move(snapshot); }

  // Appends the rows of `tokens`; `slots` as in Segment. Returns the segment's index; its first row is rows() before the call.
  int32_t AddSegment(std::span<const TokenId> tokens, std::span<const int32_t> slots, const RoutingPolicy& policy, bool record_routes);
  // The same for a run that sees `context` slots first and then `own` ones.
  int32_t AddBranch(std::span<const TokenId> tokens, std::span<const int32_t> context, std::span<const int32_t> own,
                    const RoutingPolicy& policy, bool record_routes);

  // Each returns the index of its answer in StepResult.
  int32_t AddLogits(int32_t row);
  int32_t AddLogProb(int32_t row, TokenId target);
  int32_t AddTopLogProbs(int32_t row, int32_t count);

  int32_t rows() const { return static_cast<int32_t>(step_.tokens.size()); }
  int32_t segments() const { return static_cast<int32_t>(step_.segments.size()); }
  const Step& step() const { return step_; }
  // INTERNAL when `result` does not answer every question of the step.
  Status CheckAnswers(const StepResult& result) const;

 private:
  Step step_;
  std::deque<std::vector<int32_t>> joined_slots_;  // of branches; a deque, so that spans into it stay valid
};

}  // namespace switchyard
