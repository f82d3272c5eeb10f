// DivergenceWatch: what a canary or a shadow router would have done differently from the stable one, measured on requests as they come; and
// the end of a router that differs by more than it was allowed to.
//
// A sampled request is computed again after it has been answered: once on the stable snapshot and once on the candidate, both with their
// routes. The answer itself is never touched and never waits. Nothing is computed while requests queue.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/catalog/content.h"
#include "engine/runtime/engine.h"
#include "engine/runtime/route_divergence.h"
#include "server/worker_pool.h"

namespace switchyard {

// A bound of 1 is never crossed.
struct DivergenceOptions {
  double canary_sample = 0.1;   // share of the canary's requests that are compared with stable (a shadow has a share of its own)
  int max_running = 2;          // comparisons at the same time
  double max_best_changed = 1;  // share of (row, layer) decisions whose best expert changes
  double max_js_nats = 1;       // mean over decisions
  double max_answer_flips = 1;  // share of compared Score requests whose best continuation changes
  int64_t min_requests = 50;    // no verdict before so many comparisons
  int64_t max_failures = 1;     // requests that end with INTERNAL on the candidate alone; so many take it away. 0: never
  std::chrono::milliseconds retry_after{10000};  // a role that could not be taken away is tried again
};

struct DivergenceFigures {
  uint64_t compared = 0;
  uint64_t skipped = 0;  // sampled, but the server was busy, or one of the two was cut off
  uint64_t failed = 0;   // INTERNAL on the candidate
  RouteDivergence routes;
  uint64_t answers = 0, answer_flips = 0;  // of compared Score requests: the continuation of the largest log-probability

  void Add(const DivergenceFigures& other);
};

// Which bound `figures` cross, in words; "" for none. A share crosses its bound with the whole of its 95 % interval (Wilson), so that few
// answers prove nothing; decisions of one text are not independent, so their share counts as of one decision a request.
std::string CrossedBound(const DivergenceFigures& figures, const DivergenceOptions& options);

// Thread-safe, with a thread of its own for the arithmetic. The engine must be stopped before it goes: its tasks report here.
class DivergenceWatch {
 public:
  // Whether the role was taken away; called once, by any thread, and not after the watch's end.
  using Settled = std::function<void(bool taken)>;
  // Takes the role away from whoever had it when serving set `revision` was published; must not block. When that fails it is tried again at
  // a later comparison, retry_after on at the soonest.
  using TakeAway = std::function<void(RouterRole role, uint64_t revision, const std::string& reason, Settled settled)>;

  // `take_away` may be null: then bounds are only measured.
  DivergenceWatch(const DivergenceOptions& options, Engine* engine, TakeAway take_away)
      : options_(options), engine_(*engine), take_away_(std::move(take_away)) {}

  // After a request has been answered on `task.snapshot`; cheap. Only learned routing is compared.
  void Answered(const ScoreTask& task);
  void Answered(const RouteTask& task);  // also a Generate request: its prompt and answer
  // A request with this policy ended with this error on `snapshot`. Counts where the router chose: routes that the caller made up prove
  // nothing against it.
  void Failed(const std::shared_ptr<const Snapshot>& snapshot, const RoutingPolicy& policy, const Status& status);

  // What is known of the present candidate of a role; empty figures when there is none or another one since.
  struct Candidate {
    std::string stable, candidate;  // snapshot generations
    DivergenceFigures figures;
  };
  std::optional<Candidate> candidate(RouterRole role) const;
  // Since the start, whoever the candidates were; absent before the first sampled request.
  struct Totals {
    DivergenceFigures figures;
    uint64_t taken_away = 0;
    uint64_t not_taken_away = 0;  // tries that failed
  };
  std::optional<Totals> totals(RouterRole role) const;

 private:
  // Two snapshots to be compared.
  struct Pair {
    RouterRole role = RouterRole::kCanary;
    std::shared_ptr<const Snapshot> stable, candidate;
    uint64_t revision = 0;
  };
  struct Comparison;
  struct Record {
    Candidate pair;
    Totals totals;
    bool any = false;
    uint64_t judged_revision = 0;  // a verdict on this one is on its way, or was carried out
    std::chrono::steady_clock::time_point not_before{};
  };

  // Whether a request that ran on `snapshot` is one to compare, and with whom.
  std::optional<Pair> PairFor(const std::shared_ptr<const Snapshot>& snapshot, const RoutingPolicy& policy) const;
  static bool Drawn(double share);
  bool Begin(const Pair& pair);  // false: skipped, and counted
  template <typename Task>
  void Compare(Pair pair, const Task& task);
  void Finish(const std::shared_ptr<Comparison>& comparison);
  void Count(const Pair& pair, const DivergenceFigures& figures);
  void Settle(RouterRole role, bool taken);
  Record& RecordOf(const Pair& pair);  // REQUIRES mutex_

  const DivergenceOptions options_;
  Engine& engine_;
  const TakeAway take_away_;
  mutable std::mutex mutex_;
  int running_ = 0;                  // guarded by mutex_
  std::array<Record, 3> records_{};  // by role; guarded by mutex_
  WorkerPool worker_{1, 1, 0};       // last: it ends before what its jobs use
};

}  // namespace switchyard
