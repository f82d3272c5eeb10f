#include "engine/runtime/engine_impl.h"

#include "engine/runtime/generate_state.h"
#include "engine/runtime/route_state.h"
#include "engine/runtime/score_state.h"
#include "engine/runtime/task_validation.h"

namespace switchyard {
namespace {

Status CheckOptions(const EngineOptions& options, const KvGeometry& geometry) {
  const auto positive = [](const char* what, int32_t value) {
    return value > 0 ? OkStatus() : InvalidArgument("%s is %d, expected at least 1", what, value);
  };
  RETURN_IF_ERROR(positive("max_queued_tasks", options.max_queued_tasks));
  RETURN_IF_ERROR(positive("max_running_tasks", options.max_running_tasks));
  RETURN_IF_ERROR(positive("max_step_tokens", options.max_step_tokens));
  RETURN_IF_ERROR(positive("tokens of a KV block", geometry.block_tokens));
  return positive("number of KV blocks", geometry.num_blocks);
}

}  // namespace

StatusOr<std::unique_ptr<Engine>> Engine::Create(EngineOptions options, ModelRunner* runner) {
  RETURN_IF_ERROR(CheckOptions(options, runner->kv()));
  if (options.clock == nullptr) options.clock = Clock::Real();
  return std::unique_ptr<Engine>(std::make_unique<EngineImpl>(options, runner));
}

EngineImpl::EngineImpl(const EngineOptions& options, ModelRunner* runner)
    : options_(options),
      runner_(runner),
      geometry_(runner->kv()),
      serving_(std::make_shared<const ServingSet>(ServingSet{.stable = runner->snapshot()})),
      scheduler_(options, runner, options.clock),
      stats_(scheduler_.stats()) {
  thread_ = std::thread([this] { Loop(); });
}

StatusOr<TaskId> EngineImpl::Generate(GenerateTask task, std::shared_ptr<GenerateSink> sink) {
  RETURN_IF_ERROR(CheckOpen(task));
  TaskTicket ticket = NewTicket(task);
  RETURN_IF_ERROR(ValidateGenerate(task, ticket.snapshot->info(), geometry_));
  return Submit(GenerateState::Create(std::move(ticket), std::move(task), std::move(sink)));
}

StatusOr<TaskId> EngineImpl::Score(ScoreTask task, ScoreDone done) {
  RETURN_IF_ERROR(CheckOpen(task));
  TaskTicket ticket = NewTicket(task);
  ASSIGN_OR_RETURN(ScoreLayout layout, ValidateScore(task, ticket.snapshot->info(), geometry_));
  return Submit(ScoreState::Create(std::move(ticket), std::move(task), std::move(layout), geometry_, std::move(done)));
}

StatusOr<TaskId> EngineImpl::Route(RouteTask task, RouteDone done) {
  RETURN_IF_ERROR(CheckOpen(task));
  TaskTicket ticket = NewTicket(task);
  RETURN_IF_ERROR(ValidateRoute(task, ticket.snapshot->info(), geometry_));
  return Submit(RouteState::Create(std::move(ticket), std::move(task), std::move(done)));
}

Status EngineImpl::CheckOpen(const TaskCommon& task) const {
  if (task.deadline <= options_.clock->Now()) return DeadlineExceeded("the request's deadline had passed when it arrived");
  std::lock_guard lock(mutex_);
  if (phase_ != Phase::kAccepting) return Unavailable("the engine is shutting down and takes no new requests");
  return OkStatus();
}

TaskTicket EngineImpl::NewTicket(const TaskCommon& task) {
  return {.id = next_id_.fetch_add(1, std::memory_order_relaxed),
          .snapshot = task.snapshot != nullptr ? task.snapshot : snapshot(),
          .submitted = options_.clock->Now(),
          .prefix_cache = options_.prefix_cache};
}

StatusOr<TaskId> EngineImpl::Submit(std::unique_ptr<TaskState> task) {
  const TaskId id = task->id();
  const std::string& generation = task->snapshot()->info().generation;
  {
    std::lock_guard lock(mutex_);
    if (phase_ != Phase::kAccepting) return Unavailable("the engine is shutting down and takes no new requests");
    const size_t queued = inbox_.size() + scheduler_waiting_;
    if (queued >= static_cast<size_t>(options_.max_queued_tasks)) {
      return ResourceExhausted("the queue is full: %d requests are waiting", queued);
    }
    active_.insert(id);
    ++leases_[generation];
    inbox_.push_back(std::move(task));
  }
  inbox_changed_.notify_one();
  return id;
}

void EngineImpl::Publish(ServingSet set) {
  auto next = std::make_shared<const ServingSet>(std::move(set));
  std::lock_guard lock(serving_mutex_);
  serving_.swap(next);
  // The old one is let go after the lock: its snapshots may be its last owner's to free.
}

std::shared_ptr<const ServingSet> EngineImpl::serving() const {
  std::lock_guard lock(serving_mutex_);
  return serving_;
}

void EngineImpl::Cancel(TaskId id) {
  {
    std::lock_guard lock(mutex_);
    if (!active_.contains(id)) return;
    cancelled_.insert(id);
  }
  inbox_changed_.notify_one();
}

EngineStats EngineImpl::stats() const {
  std::lock_guard lock(mutex_);
  EngineStats stats = stats_;
  stats.queued_tasks = static_cast<int64_t>(inbox_.size() + scheduler_waiting_);
  stats.queue_limit = options_.max_queued_tasks;
  stats.leases = leases_;
  return stats;
}

Status EngineImpl::Drain(SteadyTime deadline) {
  std::unique_lock lock(mutex_);
  if (phase_ == Phase::kAccepting) phase_ = Phase::kDraining;
  const auto done = [this] { return active_.empty(); };
  if (deadline == SteadyTime::max()) {
    all_ended_.wait(lock, done);
  } else if (!all_ended_.wait_until(lock, deadline, done)) {
    return DeadlineExceeded("drain: %d requests are still running", active_.size());
  }
  return OkStatus();
}

void EngineImpl::Stop() {
  {
    std::lock_guard lock(mutex_);
    phase_ = Phase::kStopping;
  }
  inbox_changed_.notify_one();
  std::lock_guard lock(stop_mutex_);
  if (thread_.joinable()) thread_.join();
}

void EngineImpl::Loop() {
  std::vector<EndedTask> ended;
  for (;;) {
    Intake intake = TakeIntake(/*wait=*/scheduler_.idle());
    for (std::unique_ptr<TaskState>& task : intake.tasks) scheduler_.Enqueue(std::move(task));
    if (intake.stop) break;
    scheduler_.Sweep(intake.cancelled, &ended);
    scheduler_.Admit();
    Deliver(&ended);
    if (!scheduler_.has_running()) continue;
    scheduler_.Step(&route_totals_, &ended);
    Deliver(&ended);
  }
  scheduler_.EndAll(Cancelled("the engine has stopped"), &ended);
  Deliver(&ended);
}

EngineImpl::Intake EngineImpl::TakeIntake(bool wait) {
  std::unique_lock lock(mutex_);
  // No timer: with nothing running the first waiting task always fits, so whenever a task exists there are steps, and a deadline is seen at
  // the next border between them.
  if (wait) inbox_changed_.wait(lock, [this] { return !inbox_.empty() || phase_ == Phase::kStopping; });
  Intake intake;
  intake.tasks.swap(inbox_);
  intake.cancelled.swap(cancelled_);
  intake.stop = phase_ == Phase::kStopping;
  scheduler_waiting_ += intake.tasks.size();
  return intake;
}

void EngineImpl::Deliver(std::vector<EndedTask>* ended) {
  Publish();
  if (ended->empty()) return;
  std::vector<TaskId> ids;
  std::vector<std::string> generations;
  for (EndedTask& task : *ended) {
    ids.push_back(task.task->id());
    generations.push_back(task.task->snapshot()->info().generation);
    if (task.status.ok()) {
      task.task->Complete(options_.clock->Now());
    } else {
      task.task->Fail(task.status);
    }
  }
  ended->clear();
  bool none_left = false;
  {
    std::lock_guard lock(mutex_);
    for (const TaskId id : ids) {
      active_.erase(id);
      cancelled_.erase(id);
    }
    for (const std::string& generation : generations) {
      if (--leases_[generation] == 0) leases_.erase(generation);
    }
    none_left = active_.empty();
  }
  if (none_left) all_ended_.notify_all();
}

void EngineImpl::Publish() {
  EngineStats stats = scheduler_.stats();
  std::lock_guard lock(mutex_);
  stats_ = stats;
  scheduler_waiting_ = scheduler_.num_waiting();
}

}  // namespace switchyard
