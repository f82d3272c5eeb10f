// Sums of routes: a step's counts into the engine's totals, a task's traces into its summary.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/runtime/model_runner.h"
#include "engine/runtime/tasks.h"

namespace switchyard {

// Sums over all steps since the engine started, whatever snapshots they ran on.
struct RouteSums {
  struct Expert {
    std::string name;
    std::vector<uint64_t> tokens;  // [L] rows whose selected set held it
    std::vector<double> weight;    // [L]
  };
  std::vector<Expert> experts;         // by first appearance; an expert that was swapped keeps its place and its sums, by its name
  std::vector<double> entropy_sum;     // [L] nats
  std::vector<uint64_t> entropy_rows;  // [L]
  std::vector<double> base_mass;       // [L]
  std::vector<uint64_t> rows;          // [L]
  std::vector<uint64_t> pairs, flips;  // [L] as RouteCounts
  // [L] weight given to the zero expert, whatever its name; empty until a snapshot had one.
  std::vector<double> zero_weight;
};

// What one snapshot's router decided since the snapshot was first used: rows that another mode routed, and other snapshots, are not in it.
// Index layer * experts + expert, the snapshot's order.
struct RouterSums {
  std::string generation;              // the snapshot's
  size_t experts = 0;                  // E
  std::vector<uint64_t> tokens;        // [L * E]
  std::vector<double> weight;          // [L * E]
  std::vector<double> entropy_sum;     // [L] nats
  std::vector<uint64_t> rows;          // [L]
  std::vector<uint64_t> pairs, flips;  // [L] as RouteCounts
};

// Thread-safe: the engine thread adds once a step, scrapes copy. Sums never go back.
class RouteTotals {
 public:
  // Snapshots whose sums are kept, the ones used last.
  static constexpr size_t kMaxSnapshots = 8;
  // Names past this many are summed under "other": what is scraped stays bounded however many experts come and go.
  static constexpr size_t kMaxExperts = 512;

  // `info`: of the step's snapshot. Empty counts change nothing.
  void Add(const RouteCounts& step, const SnapshotInfo& info);
  RouteSums Copy() const;
  std::vector<RouterSums> CopyRouters() const;

 private:
  struct UsedRouter {
    RouterSums sums;
    uint64_t used = 0;  // the number of the step
  };
  void AddLearned(const RouteCounts& step, const SnapshotInfo& info);
  RouterSums& FindRouter(const std::string& generation);
  RouteSums::Expert* Find(const SnapshotInfo::Expert& expert, size_t layers);

  mutable std::mutex mutex_;
  RouteSums sums_;                   // guarded by mutex_
  std::vector<UsedRouter> routers_;  // guarded by mutex_
  uint64_t steps_ = 0;               // guarded by mutex_
};

// Puts `tail`'s rows after `trace`'s. INTERNAL when both have rows and their layers or slots differ.
Status AppendTrace(const RouteTrace& tail, RouteTrace* trace);

// What the runner would have counted for exactly these rows. The runner counts whole steps, so one task's counts exist only where its
// routes were recorded.
RouteCounts CountTrace(const RouteTrace& trace, const SnapshotInfo& info);

}  // namespace switchyard
