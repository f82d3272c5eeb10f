// RouteState: the routes of given tokens on the engine thread; no questions to the vocabulary projection.
#pragma once

#include <memory>
#include <optional>

#include "engine/runtime/kv_sequence.h"
#include "engine/runtime/task_state.h"

namespace switchyard {

// Used only on the engine thread.
class RouteState final : public TaskState {
 public:
  // REQUIRES: ValidateRoute(task) is OK.
  static std::unique_ptr<RouteState> Create(TaskTicket ticket, RouteTask task, RouteDone done);

  bool decoding() const override { return false; }
  StatusOr<int32_t> Plan(int32_t budget, StepPlan* plan) override;
  StatusOr<bool> Apply(const StepResult& result, SteadyTime now) override;
  void Complete(SteadyTime now) override;
  void Fail(const Status& status) override;

 private:
  RouteState(TaskTicket ticket, std::unique_ptr<RouteTask> task, RouteDone done);

  void OpenSequences(KvLease* lease) override;
  void CloseSequences() override { sequence_.reset(); }
  int32_t WorstCaseBlocks(const KvCache& cache) const override { return cache.BlocksFor(static_cast<int64_t>(task_->tokens.size())); }

  const std::unique_ptr<RouteTask> task_;
  const RouteDone done_;
  std::optional<KvSequence> sequence_;
  RouteResult result_;
  int32_t planned_rows_ = 0;  // of the step being planned
  int32_t segment_ = -1;
};

}  // namespace switchyard
