#include "server/metrics_collectable.h"

#include <chrono>
#include <limits>
#include <map>
#include <utility>

#include "server/version.h"

namespace switchyard {
namespace {
using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<std::pair<std::string, std::string>>;

class Builder {
 public:
  MetricFamily& Family(const char* name, const char* help, MetricType type) {
    families_.push_back({name, help, type, {}});
    return families_.back();
  }
  static void Add(MetricFamily& family, const Labels& labels, double value) {
    ClientMetric metric;
    for (const auto& [name, text] : labels) metric.label.push_back({name, text});
    (family.type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
    family.metric.push_back(std::move(metric));
  }
  void Gauge(const char* name, const char* help, double value) { Add(Family(name, help, MetricType::Gauge), {}, value); }
  void Counter(const char* name, const char* help, double value) { Add(Family(name, help, MetricType::Counter), {}, value); }
  static void AddHistogram(MetricFamily& family, const Labels& labels, const LatencyHistogram::View& view) {
    ClientMetric metric;
    for (const auto& [name, text] : labels) metric.label.push_back({name, text});
    metric.histogram.sample_count = view.count;
    metric.histogram.sample_sum = view.sum;
    for (size_t i = 0; i < view.cumulative.size(); ++i)
      metric.histogram.bucket.push_back({view.cumulative[i], LatencyHistogram::kBounds[i]});
    metric.histogram.bucket.push_back({view.count, std::numeric_limits<double>::infinity()});
    family.metric.push_back(std::move(metric));
  }
  std::vector<MetricFamily> Take() { return std::move(families_); }

 private:
  std::vector<MetricFamily> families_;
};

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
  }
  for (MetricFamily* family : {&weight, &zero, &rows, &base, &entropy, &entropy_rows}) {
    b->Family(family->name.c_str(), family->help.c_str(), family->type).metric = std::move(family->metric);
  }
}

// Experts and routers of what new requests run on; what snapshots share counts once.
std::pair<int64_t, int64_t> ServedBytes(const ServingSet& serving) {
  std::map<std::string, int64_t> experts, routers;
  for (const auto& snapshot : {serving.stable, serving.canary, serving.shadow}) {
    if (snapshot == nullptr) continue;
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
    AddEngine(engine_.stats(), &b);
    const auto serving = engine_.serving();
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
