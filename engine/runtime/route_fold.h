// Sums of routes: a step's counts into the engine's totals, a task's traces into its summary.
#pragma once

#include <mutex>

#include "engine/base/status.h"
#include "engine/runtime/model_runner.h"
#include "engine/runtime/tasks.h"

namespace switchyard {

// Layer-by-expert sums since the engine started. Thread-safe: the engine thread adds once a step, scrapes copy.
class RouteTotals {
 public:
  // Counts of another shape (a snapshot with other experts or layers) start the totals anew. Empty counts change nothing.
  void Add(const RouteCounts& step);
  RouteCounts Copy() const;

 private:
  mutable std::mutex mutex_;
  RouteCounts totals_;  // guarded by mutex_
};

// Puts `tail`'s rows after `trace`'s. INTERNAL when both have rows and their layers or slots differ.
Status AppendTrace(const RouteTrace& tail, RouteTrace* trace);

// What the runner would have counted for exactly these rows. The runner counts whole steps, so one task's counts exist only where its
// routes were recorded.
RouteCounts CountTrace(const RouteTrace& trace, const SnapshotInfo& info);

}  // namespace switchyard
