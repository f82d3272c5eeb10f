#include "server/warm_up.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "server/log.h"

namespace switchyard {
namespace {

constexpr int32_t kTokens = 8;
constexpr std::chrono::seconds kLongest{30};

Status RunOnce(Engine& engine, const std::shared_ptr<const Snapshot>& snapshot, RoutingPolicy policy) {
  RouteTask task;
  task.snapshot = snapshot;
  task.policy = std::move(policy);
  task.deadline = std::chrono::steady_clock::now() + kLongest;
  const int32_t count = std::min({kTokens, snapshot->info().vocab_size, snapshot->info().max_positions});
  for (int32_t i = 0; i < count; ++i) task.tokens.push_back(i);
  auto promise = std::make_shared<std::promise<Status>>();
  auto ended = promise->get_future();
  const auto submitted = engine.Route(std::move(task), [promise](StatusOr<RouteResult> result) { promise->set_value(result.status()); });
  return submitted.ok() ? ended.get() : submitted.status();
}

// Errors that say something of the server's load or end, not of the snapshot.
bool SaysNothing(const Status& status) {
  return status.code() == absl::StatusCode::kResourceExhausted || status.code() == absl::StatusCode::kUnavailable ||
         status.code() == absl::StatusCode::kDeadlineExceeded || status.code() == absl::StatusCode::kCancelled;
}

using ExpertKey = std::pair<std::string, std::string>;

Status WarmSnapshot(Engine& engine, const std::shared_ptr<const Snapshot>& snapshot, std::set<ExpertKey>* warm) {
  const SnapshotInfo& info = snapshot->info();
  if (!info.router_name.empty()) {
    if (Status status = RunOnce(engine, snapshot, {}); !status.ok()) return Annotate(status, "router \"" + info.router_name + "\"");
  }
  for (size_t e = 0; e < info.experts.size(); ++e) {
    const SnapshotInfo::Expert& expert = info.experts[e];
    if (expert.is_zero || !warm->insert({expert.name, expert.generation}).second) continue;
    RoutingPolicy forced;
    forced.mode = RoutingPolicy::Mode::kForced;
    forced.forced = static_cast<ExpertIndex>(e);
    if (Status status = RunOnce(engine, snapshot, std::move(forced)); !status.ok())
      return Annotate(status, "expert \"" + expert.name + "\"");
  }
  return OkStatus();
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
