// Engine: the queue, the scheduler thread and the KV accounting in front of one ModelRunner.
//
// Thread-safe. The engine thread it starts is the only caller of ModelRunner::Run and of every callback. Submit* never block: they
// validate, enqueue and return, or refuse.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/clock.h"
#include "engine/base/status.h"
#include "engine/runtime/route_fold.h"
#include "engine/runtime/serving_set.h"
#include "engine/runtime/tasks.h"

namespace switchyard {

struct EngineOptions {
  // Waiting tasks; one more is RESOURCE_EXHAUSTED. As many as run: admitted work then waits about as long again as without a queue.
  int32_t max_queued_tasks = 64;
  int32_t max_running_tasks = 64;  // tasks that hold KV at the same time
  int32_t max_step_tokens = 512;   // rows of one step; long prompts are computed in chunks of it
  bool prefix_cache = true;        // keep full blocks of finished contexts, evicted least recently used
  const Clock* clock = nullptr;    // for deadlines and timings; null: the real one. Must outlive the engine
};

// A snapshot of the engine's state for metrics; cheap.
struct EngineStats {
  int64_t queued_tasks = 0;
  int64_t running_tasks = 0;
  int64_t kv_blocks_total = 0;
  int64_t kv_blocks_used = 0;    // held by running tasks
  int64_t kv_blocks_cached = 0;  // held by the prefix tree only: freed on demand
  uint64_t steps = 0;
  uint64_t step_rows = 0;  // sum over steps of T
  uint64_t prompt_tokens = 0;
  uint64_t prefix_hit_tokens = 0;
  uint64_t generated_tokens = 0;
  uint64_t scored_tokens = 0;
  int64_t queue_limit = 0;                // EngineOptions::max_queued_tasks
  std::map<std::string, int64_t> leases;  // accepted tasks that have not ended, by the generation of the snapshot they run on
  double step_seconds = 0;                // time inside ModelRunner::Run
};

using TaskId = uint64_t;

class Engine {
 public:
  // `runner` must outlive the engine; its snapshot is what the engine begins to serve. INVALID_ARGUMENT when an option is not positive or
  // the KV pool is empty.
  static StatusOr<std::unique_ptr<Engine>> Create(EngineOptions options, ModelRunner* runner);
  virtual ~Engine() = default;  // Stop()s

  // INVALID_ARGUMENT for what no engine state could serve (empty prompt, token id out of range, longer than the model's positions or than
  // the whole KV pool, unknown expert, bad mixture, learned routing without a router); RESOURCE_EXHAUSTED when the queue is full;
  // UNAVAILABLE after Drain/Stop began; DEADLINE_EXCEEDED when the deadline has passed. On error no callback is called.
  virtual StatusOr<TaskId> Generate(GenerateTask task, std::shared_ptr<GenerateSink> sink) = 0;
  virtual StatusOr<TaskId> Score(ScoreTask task, ScoreDone done) = 0;
  virtual StatusOr<TaskId> Route(RouteTask task, RouteDone done) = 0;

  // Ends the task at the next step border with CANCELLED, freeing its KV. Unknown or finished ids are ignored.
  virtual void Cancel(TaskId id) = 0;

  // Exchanges what new tasks run on; accepted ones finish on what they leased. `set.stable` must not be null.
  virtual void Publish(ServingSet set) = 0;
  virtual std::shared_ptr<const ServingSet> serving() const = 0;
  std::shared_ptr<const Snapshot> snapshot() const { return serving()->stable; }
  virtual EngineStats stats() const = 0;
  // Layer-by-expert sums since start; copied.
  virtual RouteSums route_sums() const = 0;
  // What the routers of the snapshots used last decided; copied.
  virtual std::vector<RouterSums> router_sums() const = 0;

  // Refuses new tasks and returns when all accepted ones have ended, or at the deadline (then DEADLINE_EXCEEDED; they keep running).
  virtual Status Drain(SteadyTime deadline) = 0;
  // Cancels what is left and joins the engine thread. Idempotent. Like Drain and the destructor, never from a callback.
  virtual void Stop() = 0;
};

}  // namespace switchyard
