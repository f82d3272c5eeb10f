#include "server/warm_up.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/log.h"

namespace switchyard {
namespace {

constexpr int32_t kTokens = 8;
constexpr std::chrono::seconds kLongest{30};

// A few tokens on a snapshot; `what` is warmed by them.
struct Run {
  std::string what;
  std::future<Status> ended;
};

Run Begin(Engine& engine, const std::shared_ptr<const Snapshot>& snapshot, RoutingPolicy policy, std::string what) {
  RouteTask task;
  task.snapshot = snapshot;
  task.policy = std::move(policy);
  task.deadline = std::chrono::steady_clock::now() + kLongest;
  const int32_t count = std::min({kTokens, snapshot->info().vocab_size, snapshot->info().max_positions});
  for (int32_t i = 0; i < count; ++i) task.tokens.push_back(i);
  auto promise = std::make_shared<std::promise<Status>>();
  Run run{std::move(what), promise->get_future()};
  const auto submitted = engine.Route(std::move(task), [promise](StatusOr<RouteResult> result) { promise->set_value(result.status()); });
  if (!submitted.ok()) promise->set_value(submitted.status());
  return run;
}

// Errors that say something of the server's load or end, not of the snapshot.
bool SaysNothing(const Status& status) {
  return status.code() == absl::StatusCode::kResourceExhausted || status.code() == absl::StatusCode::kUnavailable ||
         status.code() == absl::StatusCode::kDeadlineExceeded || status.code() == absl::StatusCode::kCancelled;
}

using ExpertKey = std::pair<std::string, std::string>;

// All at once: on a busy engine they share a step, and what serves waits for that one alone.
Status WarmSnapshot(Engine& engine, const std::shared_ptr<const Snapshot>& snapshot, std::set<ExpertKey>* warm) {
  const SnapshotInfo& info = snapshot->info();
  std::vector<Run> runs;
  if (!info.router_name.empty()) runs.push_back(Begin(engine, snapshot, {}, "router \"" + info.router_name + "\""));
  for (size_t e = 0; e < info.experts.size(); ++e) {
    const SnapshotInfo::Expert& expert = info.experts[e];
    if (expert.is_zero || !warm->insert({expert.name, expert.generation}).second) continue;
    RoutingPolicy forced;
    forced.mode = RoutingPolicy::Mode::kForced;
    forced.forced = static_cast<ExpertIndex>(e);
    runs.push_back(Begin(engine, snapshot, std::move(forced), "expert \"" + expert.name + "\""));
  }
  Status worst;  // an error of the snapshot before one of the server's load
  for (Run& run : runs) {
    const Status status = run.ended.get();
    if (!status.ok() && (worst.ok() || SaysNothing(worst))) worst = Annotate(status, run.what);
  }
  return worst;
}

}  // namespace

Status WarmUp(Engine& engine, const ServingSet& next) {
  const std::shared_ptr<const ServingSet> serving = engine.serving();
  std::set<std::shared_ptr<const Snapshot>> seen = {serving->stable, serving->canary, serving->shadow, nullptr};
  std::set<ExpertKey> warm;
  for (const auto& snapshot : seen) {
    if (snapshot == nullptr) continue;
    for (const SnapshotInfo::Expert& expert : snapshot->info().experts) warm.insert({expert.name, expert.generation});
  }
  for (const auto& snapshot : {next.stable, next.canary, next.shadow}) {
    if (!seen.insert(snapshot).second) continue;
    const Status status = WarmSnapshot(engine, snapshot, &warm);
    if (status.ok()) continue;
    if (!SaysNothing(status)) return Annotate(status, "snapshot " + snapshot->info().generation.substr(0, 12));
    Log(LogLevel::kWarning, "not warmed", {{"snapshot", snapshot->info().generation}, {"reason", std::string(Message(status))}});
  }
  return OkStatus();
}

}  // namespace switchyard
