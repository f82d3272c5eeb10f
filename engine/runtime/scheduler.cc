#include "engine/runtime/scheduler.h"

#include <algorithm>

namespace switchyard {
namespace {

// The part of a step kept for prompts and scores while generations could fill all of it.
constexpr int32_t kPrefillShareDivisor = 4;

// OK, or why a task that is not done yet has to end.
Status EndReason(const TaskState& task, const std::unordered_set<TaskId>& cancelled, SteadyTime now) {
  if (cancelled.contains(task.id())) return Cancelled("the request was cancelled");
  if (task.deadline() <= now) return DeadlineExceeded("the request's deadline has passed");
  return OkStatus();
}

}  // namespace

Scheduler::Scheduler(const EngineOptions& options, ModelRunner* runner, const Clock* clock)
    : options_(options), runner_(runner), clock_(clock), cache_(runner->kv()) {}

void Scheduler::Sweep(const std::unordered_set<TaskId>& cancelled, std::vector<EndedTask>* ended) {
  const SteadyTime now = clock_->Now();
  std::erase_if(waiting_, [&](std::unique_ptr<TaskState>& task) {
    Status reason = EndReason(*task, cancelled, now);
    if (reason.ok()) return false;
    ended->push_back({std::move(task), std::move(reason)});
    return true;
  });
  for (Running& running : running_) running.failure = EndReason(*running.task, cancelled, now);
  Collect(ended);
}

void Scheduler::EndAll(const Status& status, std::vector<EndedTask>* ended) {
  for (Running& running : running_) running.failure = status;
  Collect(ended);
  for (std::unique_ptr<TaskState>& task : waiting_) ended->push_back({std::move(task), status});
  waiting_.clear();
}

void Scheduler::Admit() {
  while (!waiting_.empty() && static_cast<int32_t>(running_.size()) < options_.max_running_tasks && waiting_.front()->Admit(&cache_)) {
    running_.emplace_back().task = std::move(waiting_.front());
    waiting_.pop_front();
  }
}

void Scheduler::Step(RouteTotals* totals, std::vector<EndedTask>* ended) {
  ++step_number_;
  StepPlan plan(NextSnapshot());
  PlanStep(&plan);
  if (plan.rows() == 0) {
    // Only tasks that failed while planning; one that neither fails nor moves would spin for ever.
    for (Running& running : running_) {
      if (running.in_step && running.failure.ok()) running.failure = Internal("scheduling: a running request wants no rows");
    }
    return Collect(ended);
  }
  const StatusOr<StepResult> result = RunStep(plan);
  if (result.ok()) {
    totals->Add(result->counts, plan.step().snapshot->info());
    FailOwners(result->failures);
    ApplyStep(*result);
  } else {
    for (Running& running : running_) {
      if (running.in_step) running.failure = Internal("%s", Message(result.status()));
    }
  }
  Collect(ended);
}

std::shared_ptr<const Snapshot> Scheduler::NextSnapshot() {
  // A newcomer queues up behind the others: a stream of short tasks on a new snapshot must not starve the old one.
  std::map<const Snapshot*, uint64_t> turns;
  std::shared_ptr<const Snapshot> next;
  for (const Running& running : running_) {
    const std::shared_ptr<const Snapshot>& snapshot = running.task->snapshot();
    const auto known = turns_.find(snapshot.get());
    turns.emplace(snapshot.get(), known == turns_.end() ? step_number_ - 1 : known->second);
    if (!next || turns[snapshot.get()] < turns[next.get()]) next = snapshot;
  }
  turns[next.get()] = step_number_;
  turns_ = std::move(turns);
  return next;
}

void Scheduler::PlanStep(StepPlan* plan) {
  std::vector<Running*> generations;
  std::vector<Running*> others;
  for (Running& running : running_) {
    running.in_step = false;
    if (running.task->snapshot() == plan->step().snapshot) (running.task->decoding() ? generations : others).push_back(&running);
  }
  std::stable_sort(generations.begin(), generations.end(), [](const Running* a, const Running* b) { return a->last_step < b->last_step; });
  const int32_t kept = others.empty() ? 0 : options_.max_step_tokens / kPrefillShareDivisor;
  for (Running* running : generations) PlanTask(running, options_.max_step_tokens - kept - plan->rows(), plan);
  for (Running* running : others) PlanTask(running, options_.max_step_tokens - plan->rows(), plan);
}

void Scheduler::PlanTask(Running* running, int32_t budget, StepPlan* plan) {
  if (budget <= 0) return;
  running->in_step = true;
  running->last_step = step_number_;
  running->task->MarkFirstStep(clock_->Now());
  running->segments_begin = plan->segments();
  if (const StatusOr<int32_t> rows = running->task->Plan(budget, plan); !rows.ok()) running->failure = rows.status();
  running->segments_end = plan->segments();
}

StatusOr<StepResult> Scheduler::RunStep(const StepPlan& plan) {
  const auto start = std::chrono::steady_clock::now();
  StatusOr<StepResult> result = runner_->Run(plan.step());
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  ++stats_.steps;
  stats_.step_rows += plan.rows();
  stats_.step_seconds += seconds.count();
  if (result.ok()) RETURN_IF_ERROR(plan.CheckAnswers(*result));
  return result;
}

// A request with a segment that could not be computed ends; the others go on.
void Scheduler::FailOwners(const std::vector<SegmentFailure>& failures) {
  for (const SegmentFailure& failed : failures) {
    for (Running& running : running_) {
      const bool owns = running.in_step && running.segments_begin <= failed.segment && failed.segment < running.segments_end;
      if (owns && running.failure.ok()) running.failure = failed.status;
    }
  }
}

void Scheduler::ApplyStep(const StepResult& result) {
  for (Running& running : running_) {
    if (!running.in_step || !running.failure.ok()) continue;
    const StatusOr<bool> complete = running.task->Apply(result, clock_->Now());
    if (complete.ok()) {
      running.complete = *complete;
    } else {
      running.failure = complete.status();
    }
  }
}

void Scheduler::Count(Running* running) {
  const TaskUsage& usage = running->task->usage();
  const TaskUsage& counted = running->counted;
  stats_.prompt_tokens += usage.prompt_tokens - counted.prompt_tokens;
  stats_.prefix_hit_tokens += usage.cached_tokens - counted.cached_tokens;
  stats_.generated_tokens += usage.generated_tokens - counted.generated_tokens;
  stats_.scored_tokens += running->task->scored_tokens() - running->counted_scores;
  running->counted = usage;
  running->counted_scores = running->task->scored_tokens();
}

void Scheduler::Collect(std::vector<EndedTask>* ended) {
  std::erase_if(running_, [&](Running& running) {
    Count(&running);
    if (!running.complete && running.failure.ok()) return false;
    running.task->ReleaseKv();
    ended->push_back({std::move(running.task), std::move(running.failure)});
    return true;
  });
}

EngineStats Scheduler::stats() const {
  EngineStats stats = stats_;
  stats.queued_tasks = static_cast<int64_t>(waiting_.size());
  stats.running_tasks = static_cast<int64_t>(running_.size());
  stats.kv_blocks_total = cache_.num_blocks();
  stats.kv_blocks_used = cache_.blocks_used();
  stats.kv_blocks_cached = cache_.blocks_cached();
  return stats;
}

}  // namespace switchyard
