#include "server/divergence_watch.h"

#include <algorithm>
#include <random>
#include <utility>

#include "engine/stats/interval.h"
#include "server/log.h"

namespace switchyard {
namespace {

// A comparison is nobody's answer: one that takes this long is given up.
constexpr std::chrono::seconds kLongest{60};

// The same policy for a snapshot whose experts have other indices. What the other snapshot does not have needs no mask.
RoutingPolicy PolicyFor(const RoutingPolicy& policy, const SnapshotInfo& from, const SnapshotInfo& to) {
  RoutingPolicy result = policy;
  if (policy.masked.empty()) return result;
  result.masked.assign(to.experts.size(), false);
  for (size_t i = 0; i < std::min(policy.masked.size(), from.experts.size()); ++i) {
    for (size_t j = 0; policy.masked[i] && j < to.experts.size(); ++j) {
      if (to.experts[j].name == from.experts[i].name) result.masked[j] = true;
    }
  }
  return result;
}

// The first continuation with the largest log-probability.
size_t Best(const ScoreResult& result) {
  size_t best = 0;
  std::vector<double> sums;
  for (const ScoreItemResult& item : result.groups[0]) {
    sums.push_back(0);
    for (const float logprob : item.logprobs) sums.back() += logprob;
    if (sums.back() > sums[best]) best = sums.size() - 1;
  }
  return best;
}

size_t RowOf(RouterRole role) { return static_cast<size_t>(role); }

std::string Percent(double share) { return absl::StrFormat("%.1f %%", 100 * share); }

// "" while the bound may still be kept.
std::string CrossedShare(const char* what, uint64_t hits, uint64_t trials, double bound) {
  const auto interval = WilsonInterval95(static_cast<int64_t>(hits), static_cast<int64_t>(trials));
  if (!interval || interval->low <= bound) return "";
  return absl::StrFormat("%s %s of %d, at least %s with 95 %% confidence, more than the bound of %s", what,
                         Percent(static_cast<double>(hits) / static_cast<double>(trials)), trials, Percent(interval->low), Percent(bound));
}

}  // namespace

void DivergenceFigures::Add(const DivergenceFigures& other) {
  compared += other.compared;
  skipped += other.skipped;
  failed += other.failed;
  routes.Add(other.routes);
  answers += other.answers;
  answer_flips += other.answer_flips;
}

std::string CrossedBound(const DivergenceFigures& figures, const DivergenceOptions& options) {
  if (options.max_failures > 0 && figures.failed >= static_cast<uint64_t>(options.max_failures)) {
    return absl::StrFormat("%d requests ended with INTERNAL, the bound is %d", figures.failed, options.max_failures);
  }
  if (figures.compared < static_cast<uint64_t>(options.min_requests)) return "";
  if (std::string crossed = CrossedShare("other answers in", figures.answer_flips, figures.answers, options.max_answer_flips);
      !crossed.empty())
    return crossed;
  const RouteDivergence::Layer decisions = figures.routes.Sum();
  if (decisions.rows == 0) return "";
  const double changed = static_cast<double>(decisions.best_changed) / static_cast<double>(decisions.rows);
  const auto as_requests = static_cast<uint64_t>(changed * static_cast<double>(figures.compared));
  if (std::string crossed = CrossedShare("another best expert in", as_requests, figures.compared, options.max_best_changed);
      !crossed.empty())
    return crossed;
  const double js = decisions.js_nats / static_cast<double>(decisions.rows);
  if (js > options.max_js_nats) {
    return absl::StrFormat("a Jensen-Shannon divergence of %.4f nats over %d requests, more than the bound of %.4f", js, figures.compared,
                           options.max_js_nats);
  }
  return "";
}

// The two results as they come; the later one finishes.
struct DivergenceWatch::Comparison {
  Pair pair;
  std::mutex mutex;
  int waiting = 2;  // guarded by mutex, like what follows
  Status stable_status, candidate_status;
  RouteSummary stable_routes, candidate_routes;
  std::optional<size_t> stable_answer, candidate_answer;
};

bool DivergenceWatch::Drawn(double share) {
  thread_local std::mt19937_64 generator{std::random_device{}()};
  return share > 0 && std::uniform_real_distribution<double>(0, 1)(generator) < share;
}

std::optional<DivergenceWatch::Pair> DivergenceWatch::PairFor(const std::shared_ptr<const Snapshot>& snapshot,
                                                              const RoutingPolicy& policy) const {
  if (policy.mode != RoutingPolicy::Mode::kLearned || snapshot == nullptr) return std::nullopt;
  const std::shared_ptr<const ServingSet> serving = engine_.serving();
  if (snapshot == serving->stable) {
    if (serving->shadow == nullptr || !Drawn(serving->shadow_share)) return std::nullopt;
    return Pair{RouterRole::kShadow, serving->stable, serving->shadow, serving->revision};
  }
  if (snapshot != serving->canary || !Drawn(options_.canary_sample)) return std::nullopt;
  return Pair{RouterRole::kCanary, serving->stable, serving->canary, serving->revision};
}

void DivergenceWatch::Answered(const ScoreTask& task) {
  auto pair = PairFor(task.snapshot, task.policy);
  if (!pair || !Begin(*pair)) return;
  ScoreTask again = task;
  again.use_prefix_cache = false;
  Compare(*std::move(pair), again);
}

void DivergenceWatch::Answered(const RouteTask& task) {
  auto pair = PairFor(task.snapshot, task.policy);
  if (pair && Begin(*pair)) Compare(*std::move(pair), task);
}

void DivergenceWatch::Failed(const std::shared_ptr<const Snapshot>& snapshot, const RoutingPolicy& policy, const Status& status) {
  if (status.code() != absl::StatusCode::kInternal || snapshot == nullptr || policy.mode != RoutingPolicy::Mode::kLearned) return;
  const std::shared_ptr<const ServingSet> serving = engine_.serving();
  if (snapshot != serving->canary || snapshot == serving->stable) return;
  DivergenceFigures figures;
  figures.failed = 1;
  Count({RouterRole::kCanary, serving->stable, serving->canary, serving->revision}, figures);
}

bool DivergenceWatch::Begin(const Pair& pair) {
  const bool busy = engine_.stats().queued_tasks > 0;
  {
    std::lock_guard lock(mutex_);
    if (!busy && running_ < options_.max_running) {
      ++running_;
      return true;
    }
  }
  DivergenceFigures figures;
  figures.skipped = 1;
  Count(pair, figures);
  return false;
}

namespace {

StatusOr<TaskId> Submit(Engine& engine, ScoreTask task, ScoreDone done) { return engine.Score(std::move(task), std::move(done)); }
StatusOr<TaskId> Submit(Engine& engine, RouteTask task, RouteDone done) { return engine.Route(std::move(task), std::move(done)); }
std::optional<size_t> AnswerOf(const ScoreResult& result) {
  return result.groups[0].size() < 2 ? std::nullopt : std::optional(Best(result));
}
std::optional<size_t> AnswerOf(const RouteResult&) { return std::nullopt; }
template <typename Task>
struct ResultOf {
  using Type = RouteResult;
};
template <>
struct ResultOf<ScoreTask> {
  using Type = ScoreResult;
};

}  // namespace

template <typename Task>
void DivergenceWatch::Compare(Pair pair, const Task& task) {
  auto comparison = std::make_shared<Comparison>();
  comparison->pair = std::move(pair);
  const RoutingPolicy policy = task.policy;
  const SnapshotInfo& asked = task.snapshot->info();
  for (const bool is_candidate : {false, true}) {
    Task again = task;
    again.snapshot = is_candidate ? comparison->pair.candidate : comparison->pair.stable;
    again.policy = PolicyFor(policy, asked, again.snapshot->info());
    again.record_routes = true;
    again.partial_routes = false;
    again.deadline = std::chrono::steady_clock::now() + kLongest;
    const auto done = [this, comparison, is_candidate](StatusOr<typename ResultOf<Task>::Type> result) {
      {
        std::lock_guard lock(comparison->mutex);
        (is_candidate ? comparison->candidate_status : comparison->stable_status) = result.status();
        if (result.ok()) {
          (is_candidate ? comparison->candidate_answer : comparison->stable_answer) = AnswerOf(*result);
          (is_candidate ? comparison->candidate_routes : comparison->stable_routes) = std::move(result->routes);
        }
        if (--comparison->waiting > 0) return;
      }
      worker_.Post([this, comparison] { Finish(comparison); });
    };
    if (auto submitted = Submit(engine_, std::move(again), done); !submitted.ok()) done(submitted.status());
  }
}

void DivergenceWatch::Finish(const std::shared_ptr<Comparison>& comparison) {
  DivergenceFigures figures;
  if (comparison->stable_status.ok() && comparison->candidate_status.code() == absl::StatusCode::kInternal) {
    figures.failed = 1;
  } else if (!comparison->stable_status.ok() || !comparison->candidate_status.ok()) {
    figures.skipped = 1;
  } else if (auto routes = CompareTraces(comparison->stable_routes.trace, comparison->pair.stable->info(),
                                         comparison->candidate_routes.trace, comparison->pair.candidate->info());
             routes.ok()) {
    figures.compared = 1;
    figures.routes = *std::move(routes);
    figures.answers = comparison->stable_answer.has_value();
    figures.answer_flips = comparison->stable_answer != comparison->candidate_answer;
  } else {
    Log(LogLevel::kError, "comparison failed", {{"message", std::string(Message(routes.status()))}});
    figures.skipped = 1;
  }
  {
    std::lock_guard lock(mutex_);
    --running_;
  }
  Count(comparison->pair, figures);
}

DivergenceWatch::Record& DivergenceWatch::RecordOf(const Pair& pair) {
  Record& record = records_[RowOf(pair.role)];
  const std::string& stable = pair.stable->info().generation;
  const std::string& candidate = pair.candidate->info().generation;
  if (record.pair.stable != stable || record.pair.candidate != candidate) record.pair = {stable, candidate, {}};
  record.any = true;
  return record;
}

void DivergenceWatch::Count(const Pair& pair, const DivergenceFigures& figures) {
  // A late comparison says nothing of those who serve now.
  const std::shared_ptr<const ServingSet> serving = engine_.serving();
  const auto& now = pair.role == RouterRole::kCanary ? serving->canary : serving->shadow;
  const bool present = serving->stable == pair.stable && now == pair.candidate;
  std::string crossed;
  {
    std::lock_guard lock(mutex_);
    records_[RowOf(pair.role)].totals.figures.Add(figures);
    records_[RowOf(pair.role)].any = true;
    if (!present) return;
    Record& record = RecordOf(pair);
    record.pair.figures.Add(figures);
    if (take_away_ == nullptr || record.judged_revision == serving->revision) return;
    if (std::chrono::steady_clock::now() < record.not_before) return;
    crossed = CrossedBound(record.pair.figures, options_);
    if (crossed.empty()) return;
    record.judged_revision = serving->revision;
  }
  take_away_(pair.role, serving->revision, crossed, [this, role = pair.role](bool taken) { Settle(role, taken); });
}

void DivergenceWatch::Settle(RouterRole role, bool taken) {
  std::lock_guard lock(mutex_);
  Record& record = records_[RowOf(role)];
  if (taken) {
    ++record.totals.taken_away;
    return;
  }
  ++record.totals.not_taken_away;
  record.judged_revision = 0;
  record.not_before = std::chrono::steady_clock::now() + options_.retry_after;
}

std::optional<DivergenceWatch::Candidate> DivergenceWatch::candidate(RouterRole role) const {
  const std::shared_ptr<const ServingSet> serving = engine_.serving();
  const auto& now = role == RouterRole::kCanary ? serving->canary : serving->shadow;
  if (now == nullptr || role == RouterRole::kStable) return std::nullopt;
  const Candidate empty{serving->stable->info().generation, now->info().generation, {}};
  std::lock_guard lock(mutex_);
  const Candidate& known = records_[RowOf(role)].pair;
  return known.stable == empty.stable && known.candidate == empty.candidate ? known : empty;
}

std::optional<DivergenceWatch::Totals> DivergenceWatch::totals(RouterRole role) const {
  std::lock_guard lock(mutex_);
  const Record& record = records_[RowOf(role)];
  return record.any ? std::optional(record.totals) : std::nullopt;
}

}  // namespace switchyard
