#include "server/status_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "server/version.h"

namespace switchyard {
namespace {
using Json = nlohmann::ordered_json;
using std::chrono::steady_clock;

struct Generation {
  std::string kind, name, generation;
  bool is_zero = false;
  std::string Key() const { return kind + "/" + name + "/" + generation; }
};

std::vector<Generation> GenerationsOf(const ServingSet& serving) {
  const SnapshotInfo& info = serving.stable->info();
  std::vector<Generation> all = {{"snapshot", "", info.generation}, {"base", info.base_name, info.base_generation}};
  if (!info.router_generation.empty()) all.push_back({"router", info.router_name, info.router_generation});
  for (const SnapshotInfo::Expert& expert : info.experts) all.push_back({"expert", expert.name, expert.generation, expert.is_zero});
  for (const auto& [kind, snapshot] : {std::pair{"canary", serving.canary}, std::pair{"shadow", serving.shadow}}) {
    if (snapshot != nullptr) all.push_back({kind, snapshot->info().router_name, snapshot->info().generation});
  }
  return all;
}

Json EngineJson(const EngineStats& s) {
  return {{"queued_tasks", s.queued_tasks},
          {"running_tasks", s.running_tasks},
          {"kv_blocks_total", s.kv_blocks_total},
          {"kv_blocks_used", s.kv_blocks_used},
          {"kv_blocks_cached", s.kv_blocks_cached},
          {"steps", s.steps},
          {"step_rows", s.step_rows},
          {"step_seconds", s.step_seconds},
          {"prompt_tokens", s.prompt_tokens},
          {"cached_tokens", s.prefix_hit_tokens},
          {"generated_tokens", s.generated_tokens},
          {"scored_tokens", s.scored_tokens}};
}

Json RequestsJson(const RequestMetrics& requests) {
  Json list = Json::array();
  for (const auto& [key, count] : requests.totals()) list.push_back({{"method", key.first}, {"code", key.second}, {"count", count}});
  return list;
}

// The experts served, in their order, then those that were swapped out and still have sums.
std::vector<SnapshotInfo::Expert> ColumnsOf(const SnapshotInfo& info, const RouteSums& sums) {
  std::vector<SnapshotInfo::Expert> columns = info.experts;
  for (const RouteSums::Expert& expert : sums.experts) {
    if (std::any_of(info.experts.begin(), info.experts.end(), [&](const auto& served) { return served.name == expert.name; })) continue;
    columns.push_back({});
    columns.back().name = expert.name;
  }
  return columns;
}

Json LayersJson(const RouteSums& sums, const std::vector<SnapshotInfo::Expert>& columns) {
  Json layers = Json::array();
  for (size_t l = 0; l < sums.rows.size(); ++l) {
    Json tokens = Json::array(), weight = Json::array();
    for (const SnapshotInfo::Expert& column : columns) {
      const auto found = std::find_if(sums.experts.begin(), sums.experts.end(), [&](const auto& e) { return e.name == column.name; });
      tokens.push_back(found != sums.experts.end() ? found->tokens[l] : 0);
      weight.push_back(found != sums.experts.end() ? found->weight[l] : 0.0);
    }
    layers.push_back({{"rows", sums.rows[l]},
                      {"tokens", std::move(tokens)},
                      {"weight", std::move(weight)},
                      {"base_mass", sums.base_mass[l]},
                      {"entropy", sums.entropy_sum[l]},
                      {"entropy_rows", sums.entropy_rows[l]},
                      {"pairs", sums.pairs[l]},
                      {"flips", sums.flips[l]}});
  }
  return layers;
}

}  // namespace

StatusJson::StatusJson(const Engine& engine, const RequestMetrics& requests, std::string dtype, bool untrained)
    : engine_(engine), requests_(requests), dtype_(std::move(dtype)), untrained_(untrained) {
  Observe();
}

double StatusJson::AgeOf(const std::string& key) {
  const auto now = steady_clock::now();
  return std::chrono::duration<double>(now - first_seen_.emplace(key, now).first->second).count();
}

void StatusJson::Observe() {
  const auto serving = engine_.serving();
  std::map<std::string, steady_clock::time_point> served;
  std::lock_guard lock(mutex_);
  for (const Generation& g : GenerationsOf(*serving)) {
    AgeOf(g.Key());
    served[g.Key()] = first_seen_[g.Key()];
  }
  first_seen_ = std::move(served);  // one that comes back later is young again
}

std::string StatusJson::Text() {
  const auto serving = engine_.serving();
  const SnapshotInfo& info = serving->stable->info();
  const RouteSums sums = engine_.route_sums();
  const std::vector<SnapshotInfo::Expert> columns = ColumnsOf(info, sums);
  Json generations = Json::array(), experts = Json::array();
  {
    std::lock_guard lock(mutex_);
    for (const Generation& g : GenerationsOf(*serving))
      generations.push_back(
          {{"kind", g.kind}, {"name", g.name}, {"generation", g.generation}, {"is_zero", g.is_zero}, {"age_seconds", AgeOf(g.Key())}});
  }
  for (const SnapshotInfo::Expert& expert : columns) experts.push_back({{"name", expert.name}, {"is_zero", expert.is_zero}});
  const auto seconds = [](auto time) { return std::chrono::duration<double>(time.time_since_epoch()).count(); };
  const LatencyHistogram::View first = requests_.first_token().view();
  const Json status = {{"time", seconds(std::chrono::system_clock::now())},
                       {"start_time", seconds(start_)},
                       {"version", kServerVersion},
                       {"draining", draining_.load()},
                       {"model",
                        {{"name", info.base_name},
                         {"dtype", dtype_},
                         {"untrained", untrained_},
                         {"layers", info.num_layers},
                         {"router_kind", info.router_kind},
                         {"top_k", info.top_k}}},
                       {"generations", std::move(generations)},
                       {"engine", EngineJson(engine_.stats())},
                       {"requests", RequestsJson(requests_)},
                       {"first_token", {{"count", first.count}, {"seconds", first.sum}}},
                       {"experts", std::move(experts)},
                       {"layers", LayersJson(sums, columns)}};
  return status.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace switchyard
