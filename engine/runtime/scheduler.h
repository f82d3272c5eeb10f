// Scheduler: which tasks run, and which of their rows share the next step.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <unordered_set>
#include <vector>

#include "engine/base/clock.h"
#include "engine/base/status.h"
#include "engine/runtime/engine.h"
#include "engine/runtime/kv_cache.h"
#include "engine/runtime/model_runner.h"
#include "engine/runtime/route_fold.h"
#include "engine/runtime/task_state.h"

namespace switchyard {

// A task that has ended and holds no KV any more; its callback is still to be called.
struct EndedTask {
  std::unique_ptr<TaskState> task;
  Status status;  // OK: Complete(); else Fail(status)
};

// Used only on the engine thread. Calls no callback but GenerateSink::OnToken.
//
// Waiting tasks are admitted strictly in order: the first one whose worst case does not fit holds the others back, so none starves. An
// admitted task is never preempted; its reservation makes every later block certain, so there is no deadlock.
//
// A step holds tasks of one snapshot; snapshots take turns. Within a step generations put in their next row first, then prompts and scores
// their rows, oldest task first. A quarter of the step is kept for the latter when any waits, and generations that did not fit go first
// next time.
class Scheduler {
 public:
  // `runner` and `clock` must outlive the scheduler.
  Scheduler(const EngineOptions& options, ModelRunner* runner, const Clock* clock);

  void Enqueue(std::unique_ptr<TaskState> task) { waiting_.push_back(std::move(task)); }
  // Ends tasks that were cancelled or whose deadline has passed, waiting or running.
  void Sweep(const std::unordered_set<TaskId>& cancelled, std::vector<EndedTask>* ended);
  // Ends all of them.
  void EndAll(const Status& status, std::vector<EndedTask>* ended);
  // Lets waiting tasks run as far as they fit.
  void Admit();
  // One step of the model. REQUIRES: has_running(). A failed step ends the tasks that were in it, no others.
  void Step(RouteTotals* totals, std::vector<EndedTask>* ended);

  bool has_running() const { return !running_.empty(); }
  bool idle() const { return running_.empty() && waiting_.empty(); }
  size_t num_waiting() const { return waiting_.size(); }
  EngineStats stats() const;

 private:
  struct Running {
    std::unique_ptr<TaskState> task;
    uint64_t last_step = 0;
    bool in_step = false;                          // has rows in the step being run
    int32_t segments_begin = 0, segments_end = 0;  // its segments of that step
    TaskUsage counted;                             // what of its usage is in stats_ already
    uint64_t counted_scores = 0;
    Status failure;  // why it has to end
    bool complete = false;
  };

  // The running snapshot that has waited longest; its turn is noted.
  std::shared_ptr<const Snapshot> NextSnapshot();
  void PlanStep(StepPlan* plan);
  void PlanTask(Running* running, int32_t budget, StepPlan* plan);
  StatusOr<StepResult> RunStep(const StepPlan& plan);
  void FailOwners(const std::vector<SegmentFailure>& failures);
  void ApplyStep(const StepResult& result);
  // Adds what the task did since the last call to stats_.
  void Count(Running* running);
  // Moves ended tasks out of running_, freeing their KV.
  void Collect(std::vector<EndedTask>* ended);

  const EngineOptions options_;
  ModelRunner* const runner_;
  const Clock* const clock_;
  KvCache cache_;
  std::deque<std::unique_ptr<TaskState>> waiting_;
  std::vector<Running> running_;               // in order of admission
  std::map<const Snapshot*, uint64_t> turns_;  // last step of each running snapshot
  uint64_t step_number_ = 0;
  EngineStats stats_;  // the counters; gauges are filled by stats()
};

}  // namespace switchyard
