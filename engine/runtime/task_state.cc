#include "engine/runtime/task_state.h"

namespace switchyard {
namespace {

std::string CacheKeyOf(const TaskTicket& ticket, const TaskCommon& common, bool use_prefix_cache) {
  if (!ticket.prefix_cache || !use_prefix_cache || common.policy.mode == RoutingPolicy::Mode::kReplay) return "";
  return absl::StrFormat("%s|%s", ticket.snapshot->info().generation, common.policy.CacheKey());
}

}  // namespace

TaskState::TaskState(TaskTicket ticket, const TaskCommon& common, bool use_prefix_cache)
    : ticket_(std::move(ticket)), common_(common), cache_key_(CacheKeyOf(ticket_, common, use_prefix_cache)) {}

bool TaskState::Admit(KvCache* cache) {
  lease_ = std::make_unique<KvLease>(cache);
  OpenSequences(lease_.get());
  // Cached blocks are taken first: what others already hold costs nothing.
  if (lease_->TryReserve(WorstCaseBlocks(*cache))) return true;
  ReleaseKv();
  return false;
}

void TaskState::ReleaseKv() {
  if (!lease_) return;
  CloseSequences();
  lease_.reset();
}

void TaskState::MarkFirstStep(SteadyTime now) {
  if (first_step_ != SteadyTime::max()) return;
  first_step_ = now;
  usage_.timings.queue_ms = Milliseconds(ticket_.submitted, now);
}

void TaskState::MarkFirstResult(SteadyTime now) {
  if (has_first_result_) return;
  has_first_result_ = true;
  usage_.timings.prefill_ms = Milliseconds(first_step_, now);
}

void TaskState::MarkEnd(SteadyTime now) { usage_.timings.total_ms = Milliseconds(ticket_.submitted, now); }

}  // namespace switchyard
