// EngineImpl: the thread-safe face of the scheduler, and the one thread that runs it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "engine/base/clock.h"
#include "engine/runtime/engine.h"
#include "engine/runtime/route_fold.h"
#include "engine/runtime/scheduler.h"
#include "engine/runtime/task_state.h"

namespace switchyard {

// Thread-safe as Engine. Submitters and the engine thread meet only in the inbox, under one mutex that is never held over a step, a
// callback or a validation.
class EngineImpl final : public Engine {
 public:
  // `options.clock` is set; the options were checked.
  EngineImpl(const EngineOptions& options, ModelRunner* runner);
  ~EngineImpl() override { Stop(); }

  StatusOr<TaskId> Generate(GenerateTask task, std::shared_ptr<GenerateSink> sink) override;
  StatusOr<TaskId> Score(ScoreTask task, ScoreDone done) override;
  StatusOr<TaskId> Route(RouteTask task, RouteDone done) override;
  void Cancel(TaskId id) override;
  void Publish(ServingSet set) override;
  std::shared_ptr<const ServingSet> serving() const override;
  EngineStats stats() const override;
  RouteSums route_sums() const override { return route_totals_.Copy(); }
  std::vector<RouterSums> router_sums() const override { return route_totals_.CopyRouters(); }
  Status Drain(SteadyTime deadline) override;
  void Stop() override;

 private:
  enum class Phase { kAccepting, kDraining, kStopping };
  // What the engine thread takes out of the inbox at a step border.
  struct Intake {
    std::vector<std::unique_ptr<TaskState>> tasks;
    std::unordered_set<TaskId> cancelled;
    bool stop = false;
  };

  // DEADLINE_EXCEEDED or UNAVAILABLE, before the work of a validation is spent.
  Status CheckOpen(const TaskCommon& task) const;
  TaskTicket NewTicket(const TaskCommon& task);
  StatusOr<TaskId> Submit(std::unique_ptr<TaskState> task);

  // Engine thread.
  void Loop();
  Intake TakeIntake(bool wait);
  // Publishes the scheduler's state, calls the callbacks, then forgets the tasks.
  void Deliver(std::vector<EndedTask>* ended);
  void Publish();

  // Constant after construction.
  const EngineOptions options_;
  ModelRunner* const runner_;
  const KvGeometry geometry_;

  // Own synchronisation.
  std::atomic<TaskId> next_id_{1};
  RouteTotals route_totals_;
  mutable std::mutex serving_mutex_;
  std::shared_ptr<const ServingSet> serving_;  // never null; guarded by serving_mutex_
  std::mutex stop_mutex_;                      // held while joining, so that two Stop calls are both complete when they return

  // Used only on the engine thread.
  Scheduler scheduler_;

  mutable std::mutex mutex_;
  std::condition_variable inbox_changed_;
  std::condition_variable all_ended_;
  // Guarded by mutex_.
  Phase phase_ = Phase::kAccepting;
  std::vector<std::unique_ptr<TaskState>> inbox_;
  std::unordered_set<TaskId> active_;     // accepted and not ended
  std::unordered_set<TaskId> cancelled_;  // a subset of active_, so it is bounded too
  size_t scheduler_waiting_ = 0;          // tasks in the scheduler's queue
  EngineStats stats_;
  std::map<std::string, int64_t> leases_;  // of active_, by generation

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace switchyard
