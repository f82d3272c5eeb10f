#include "server/status_json.h"

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

std::vector<Generation> GenerationsOf(const SnapshotInfo& info) {
  std::vector<Generation> all = {{"snapshot", "", info.generation}, {"base", info.base_name, info.base_generation}};
  if (!info.router_generation.empty()) all.push_back({"router", info.router_name, info.router_generation});
  for (const SnapshotInfo::Expert& expert : info.experts) all.push_back({"expert", expert.name, expert.generation, expert.is_zero});
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

Json LayersJson(const RouteCounts& c, size_t experts) {
  Json layers = Json::array();
  for (size_t l = 0; l < c.rows.size(); ++l) {
    const size_t at = l * experts;
    layers.push_back({{"rows", c.rows[l]},
                      {"tokens", std::vector<uint64_t>(c.tokens.begin() + at, c.tokens.begin() + at + experts)},
                      {"weight", std::vector<double>(c.weight.begin() + at, c.weight.begin() + at + experts)},
                      {"base_mass", c.base_mass[l]},
                      {"entropy", c.entropy_sum[l]},
                      {"entropy_rows", c.entropy_rows[l]}});
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
  const auto snapshot = engine_.snapshot();
  std::map<std::string, steady_clock::time_point> served;
  std::lock_guard lock(mutex_);
  for (const Generation& g : GenerationsOf(snapshot->info())) {
    AgeOf(g.Key());
    served[g.Key()] = first_seen_[g.Key()];
  }
  first_seen_ = std::move(served);  // one that comes back later is young again
}

std::string StatusJson::Text() {
  const auto snapshot = engine_.snapshot();
  const SnapshotInfo& info = snapshot->info();
  const RouteCounts counts = engine_.route_counts();
  Json generations = Json::array(), experts = Json::array();
  {
    std::lock_guard lock(mutex_);
    for (const Generation& g : GenerationsOf(info))
      generations.push_back(
          {{"kind", g.kind}, {"name", g.name}, {"generation", g.generation}, {"is_zero", g.is_zero}, {"age_seconds", AgeOf(g.Key())}});
  }
  for (const SnapshotInfo::Expert& expert : info.experts) experts.push_back({{"name", expert.name}, {"is_zero", expert.is_zero}});
  const auto seconds = [](auto time) { return std::chrono::duration<double>(time.time_since_epoch()).count(); };
  const LatencyHistogram::View first = requests_.first_token().view();
  // Counts of another list of experts (a swap between the two readings above) are left out, not mislabelled.
  const bool consistent = counts.tokens.size() == counts.rows.size() * info.experts.size();
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
                       {"layers", consistent ? LayersJson(counts, info.experts.size()) : Json::array()}};
  return status.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace switchyard
