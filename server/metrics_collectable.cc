#include "server/metrics_collectable.h"

#include <chrono>
#include <map>
#include <set>
#include <utility>

#include "server/metric_families.h"
#include "server/version.h"

namespace switchyard {
namespace {
using prometheus::MetricFamily;
using prometheus::MetricType;
using Builder = MetricFamilies;
using Labels = Builder::Labels;

void AddRequests(const RequestMetrics& requests, Builder* b) {
  MetricFamily& totals = b->Family("switchyard_requests_total", "Requests ended, by method and gRPC code.", MetricType::Counter);
  for (const auto& [key, count] : requests.totals())
    Builder::Add(totals, {{"method", key.first}, {"code", key.second}}, static_cast<double>(count));
  MetricFamily& duration = b->Family("switchyard_request_duration_seconds", "Arrival to end of a request.", MetricType::Histogram);
  for (size_t m = 0; m < RequestMetrics::kMethods.size(); ++m) {
    Builder::AddHistogram(duration, {{"method", RequestMetrics::kMethods[m]}}, requests.duration(m).view());
  }
  MetricFamily& first =
      b->Family("switchyard_time_to_first_token_seconds", "Arrival of a Generate request to its first token.", MetricType::Histogram);
  Builder::AddHistogram(first, {}, requests.first_token().view());
}

void AddEngine(const EngineStats& s, Builder* b) {
  MetricFamily& tokens = b->Family("switchyard_tokens_total", "Tokens, by what was done with them.", MetricType::Counter);
  Builder::Add(tokens, {{"kind", "prompt"}}, static_cast<double>(s.prompt_tokens));
  Builder::Add(tokens, {{"kind", "cached"}}, static_cast<double>(s.prefix_hit_tokens));
  Builder::Add(tokens, {{"kind", "generated"}}, static_cast<double>(s.generated_tokens));
  Builder::Add(tokens, {{"kind", "scored"}}, static_cast<double>(s.scored_tokens));
  b->Gauge("switchyard_queued_tasks", "Tasks waiting for KV room or a first step.", static_cast<double>(s.queued_tasks));
  b->Gauge("switchyard_queue_limit_tasks", "Queued tasks at which one more is refused.", static_cast<double>(s.queue_limit));
  b->Gauge("switchyard_running_tasks", "Tasks that hold KV.", static_cast<double>(s.running_tasks));
  MetricFamily& kv = b->Family("switchyard_kv_blocks", "KV blocks, by who holds them.", MetricType::Gauge);
  Builder::Add(kv, {{"state", "used"}}, static_cast<double>(s.kv_blocks_used));
  Builder::Add(kv, {{"state", "cached"}}, static_cast<double>(s.kv_blocks_cached));
  Builder::Add(kv, {{"state", "free"}}, static_cast<double>(s.kv_blocks_total - s.kv_blocks_used - s.kv_blocks_cached));
  b->Counter("switchyard_steps_total", "Forward steps.", static_cast<double>(s.steps));
  b->Counter("switchyard_step_rows_total", "Rows (tokens) of all forward steps.", static_cast<double>(s.step_rows));
  b->Counter("switchyard_step_seconds_total", "Time inside forward steps.", s.step_seconds);
}

void AddRoutes(const RouteSums& c, Builder* b) {
  MetricFamily& tokens =
      b->Family("switchyard_route_tokens_total", "Tokens whose selected set holds the expert, by layer.", MetricType::Counter);
  MetricFamily weight{"switchyard_route_weight_total", "Routing weight given to the expert, by layer.", MetricType::Counter, {}};
  MetricFamily zero{
      "switchyard_route_zero_share", "Weight on the zero expert over routed tokens since start, by layer.", MetricType::Gauge, {}};
  MetricFamily rows{"switchyard_route_rows_total", "Tokens routed, by layer.", MetricType::Counter, {}};
  MetricFamily base{"switchyard_route_base_mass_total",
                    "Weight the base block spoke with (1 - weight on experts other than zero), by layer.",
                    MetricType::Counter,
                    {}};
  MetricFamily entropy{"switchyard_route_entropy_nats_total",
                       "Entropy of the router's distribution, summed over tokens, by layer.",
                       MetricType::Counter,
                       {}};
  MetricFamily pairs{
      "switchyard_route_pairs_total", "Tokens routed that follow another token of their sequence, by layer.", MetricType::Counter, {}};
  MetricFamily flips{"switchyard_route_flips_total",
                     "Of these, tokens whose best expert is another one than their predecessor's, by layer.",
                     MetricType::Counter,
                     {}};
  MetricFamily entropy_rows{"switchyard_route_entropy_rows_total", "Tokens with a router distribution, by layer.", MetricType::Counter, {}};
  for (size_t l = 0; l < c.rows.size(); ++l) {
    const std::string layer = std::to_string(l);
    for (const RouteSums::Expert& expert : c.experts) {
      const Labels labels = {{"layer", layer}, {"expert", expert.name}};
      Builder::Add(tokens, labels, static_cast<double>(expert.tokens[l]));
      Builder::Add(weight, labels, expert.weight[l]);
    }
    // Undefined is absent: no sample before the first routed token, or without a zero expert.
    if (!c.zero_weight.empty() && c.rows[l] > 0) Builder::Add(zero, {{"layer", layer}}, c.zero_weight[l] / static_cast<double>(c.rows[l]));
    Builder::Add(rows, {{"layer", layer}}, static_cast<double>(c.rows[l]));
    Builder::Add(base, {{"layer", layer}}, c.base_mass[l]);
    Builder::Add(entropy, {{"layer", layer}}, c.entropy_sum[l]);
    Builder::Add(entropy_rows, {{"layer", layer}}, static_cast<double>(c.entropy_rows[l]));
    Builder::Add(pairs, {{"layer", layer}}, static_cast<double>(c.pairs[l]));
    Builder::Add(flips, {{"layer", layer}}, static_cast<double>(c.flips[l]));
  }
  for (MetricFamily* family : {&weight, &zero, &rows, &base, &entropy, &entropy_rows, &pairs, &flips}) {
    b->Family(family->name.c_str(), family->help.c_str(), family->type).metric = std::move(family->metric);
  }
}

std::vector<std::pair<const char*, const Snapshot*>> RolesOf(const ServingSet& serving) {
  std::vector<std::pair<const char*, const Snapshot*>> roles;
  for (const auto& [role, snapshot] :
       {std::pair{"stable", serving.stable.get()}, std::pair{"canary", serving.canary.get()}, std::pair{"shadow", serving.shadow.get()}}) {
    if (snapshot != nullptr) roles.emplace_back(role, snapshot);
  }
  return roles;
}

// What is served: generations by part, shares of traffic, masked experts, and how many tasks run on it.
void AddServing(const ServingSet& serving, const EngineStats& stats, Builder* b) {
  MetricFamily& generations =
      b->Family("switchyard_served_generation_info", "Generations that new requests run on, by part; always 1.", MetricType::Gauge);
  std::set<Labels> seen;  // roles share experts
  const auto add = [&](const char* part, const std::string& name, const std::string& generation) {
    const Labels labels = {{"part", part}, {"name", name}, {"generation", generation}};
    if (seen.insert(labels).second) Builder::Add(generations, labels, 1);
  };
  MetricFamily& masked =
      b->Family("switchyard_masked_experts", "Served experts that learned routing leaves out: the role's router does not name them.",
                MetricType::Gauge);
  MetricFamily& leases =
      b->Family("switchyard_leases", "Accepted tasks that have not ended, by the role of what they run on.", MetricType::Gauge);
  double retired = 0;
  for (const auto& [generation, tasks] : stats.leases) retired += static_cast<double>(tasks);
  std::set<std::string> counted;
  for (const auto& [role, snapshot] : RolesOf(serving)) {
    const SnapshotInfo& info = snapshot->info();
    add("base", info.base_name, info.base_generation);
    if (!info.router_generation.empty()) add("router", info.router_name, info.router_generation);
    for (const SnapshotInfo::Expert& expert : info.experts) add("expert", expert.name, expert.generation);
    add("snapshot", role, info.generation);
    if (info.learned_experts > 0)
      Builder::Add(masked, {{"role", role}}, static_cast<double>(info.experts.size()) - static_cast<double>(info.learned_experts));
    const auto found = stats.leases.find(info.generation);
    const double tasks = found != stats.leases.end() && counted.insert(info.generation).second ? static_cast<double>(found->second) : 0;
    Builder::Add(leases, {{"role", role}}, tasks);
    retired -= tasks;
  }
  Builder::Add(leases, {{"role", "retired"}}, retired);
  MetricFamily& shares = b->Family("switchyard_role_share_ratio", "Share of requests that the role is meant to get.", MetricType::Gauge);
  if (serving.canary != nullptr) Builder::Add(shares, {{"role", "canary"}}, serving.canary_share);
  if (serving.shadow != nullptr) Builder::Add(shares, {{"role", "shadow"}}, serving.shadow_share);
}

// Experts and routers of what new requests run on; what snapshots share counts once.
std::pair<int64_t, int64_t> ServedBytes(const ServingSet& serving) {
  std::map<std::string, int64_t> experts, routers;
  for (const auto& [role, snapshot] : RolesOf(serving)) {
    const SnapshotInfo& info = snapshot->info();
    for (const SnapshotInfo::Expert& expert : info.experts) experts[expert.generation] = expert.bytes;
    routers[info.router_generation] = info.router_bytes;
  }
  const auto sum = [](const std::map<std::string, int64_t>& parts) {
    int64_t bytes = 0;
    for (const auto& [generation, size] : parts) bytes += size;
    return bytes;
  };
  return {sum(experts), sum(routers)};
}

}  // namespace

MetricsCollectable::MetricsCollectable(const Engine& engine, const RequestMetrics& requests, ResidentBytes resident)
    : engine_(engine),
      requests_(requests),
      resident_(resident),
      start_time_(std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count()) {}

std::vector<MetricFamily> MetricsCollectable::Collect() const {
  try {
    Builder b;
    AddRequests(requests_, &b);
    const EngineStats stats = engine_.stats();
    AddEngine(stats, &b);
    const auto serving = engine_.serving();
    AddServing(*serving, stats, &b);
    const SnapshotInfo& info = serving->stable->info();
    AddRoutes(engine_.route_sums(), &b);
    const auto [expert_bytes, router_bytes] = ServedBytes(*serving);
    MetricFamily& bytes = b.Family("switchyard_resident_bytes", "Memory by what holds it.", MetricType::Gauge);
    Builder::Add(bytes, {{"part", "base"}}, static_cast<double>(resident_.base));
    Builder::Add(bytes, {{"part", "experts"}}, static_cast<double>(expert_bytes));
    Builder::Add(bytes, {{"part", "router"}}, static_cast<double>(router_bytes));
    Builder::Add(bytes, {{"part", "kv"}}, static_cast<double>(resident_.kv));
    MetricFamily& build = b.Family("switchyard_build_info", "Version and what is being served; always 1.", MetricType::Gauge);
    Builder::Add(build,
                 {{"version", kServerVersion}, {"base", info.base_name}, {"router_kind", info.router_kind}, {"snapshot", info.generation}},
                 1);
    b.Gauge("switchyard_start_time_seconds", "Start of the process, seconds since the epoch.", start_time_);
    return b.Take();
  } catch (...) {
    return {};
  }
}

}  // namespace switchyard
