#include "engine/runtime/route_state.h"

#include <algorithm>

#include "engine/runtime/route_fold.h"

namespace switchyard {

std::unique_ptr<RouteState> RouteState::Create(TaskTicket ticket, RouteTask task, RouteDone done) {
  task.record_routes = true;
  return std::unique_ptr<RouteState>(new RouteState(std::move(ticket), std::make_unique<RouteTask>(std::move(task)), std::move(done)));
}

RouteState::RouteState(TaskTicket ticket, std::unique_ptr<RouteTask> task, RouteDone done)
    : TaskState(std::move(ticket), *task, /*use_prefix_cache=*/true), task_(std::move(task)), done_(std::move(done)) {
  usage_.prompt_tokens = static_cast<int64_t>(task_->tokens.size());
  result_.snapshot = ticket_.snapshot;
}

void RouteState::OpenSequences(KvLease* lease) { sequence_.emplace(lease, KvSequence::Options{.key = publish_key(), .lookup_tokens = 0}); }

StatusOr<int32_t> RouteState::Plan(int32_t budget, StepPlan* plan) {
  planned_rows_ = std::min(static_cast<int32_t>(task_->tokens.size()) - sequence_->length(), budget);
  RETURN_IF_ERROR(sequence_->Prepare(planned_rows_));
  const auto new_tokens = std::span(std::as_const(task_->tokens)).subspan(sequence_->length(), planned_rows_);
  segment_ = plan->AddSegment(new_tokens, sequence_->slots(sequence_->length() + planned_rows_), task_->policy, true);
  return planned_rows_;
}

StatusOr<bool> RouteState::Apply(const StepResult& result, SteadyTime now) {
  sequence_->Commit(task_->tokens, planned_rows_);
  usage_.computed_tokens += planned_rows_;
  RETURN_IF_ERROR(AppendTrace(result.routes[segment_], &result_.routes.trace));
  MarkFirstResult(now);
  return sequence_->length() == static_cast<int32_t>(task_->tokens.size());
}

void RouteState::Complete(SteadyTime now) {
  MarkEnd(now);
  result_.usage = usage_;
  result_.routes.counts = CountTrace(result_.routes.trace, ticket_.snapshot->info());
  done_(std::move(result_));
}

void RouteState::Fail(const Status& status) { done_(status); }

}  // namespace switchyard
