#include "server/gate_collectable.h"

#include <string>
#include <utility>

namespace switchyard {
namespace {
using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

void Add(MetricFamily* family, std::vector<ClientMetric::Label> labels, double value) {
  ClientMetric metric;
  metric.label = std::move(labels);
  (family->type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  family->metric.push_back(std::move(metric));
}

}  // namespace

std::vector<MetricFamily> GateCollectable::Collect() const {
  MetricFamily refused{"switchyard_auth_refused_total", "Calls refused for their token, by reason.", MetricType::Counter, {}};
  const auto counts = gate_.authorizer().refused();
  for (size_t i = 0; i < counts.size(); ++i) Add(&refused, {{"reason", Authorizer::kReasons[i]}}, static_cast<double>(counts[i]));
  MetricFamily requests{"switchyard_tenant_requests_total", "Requests by tenant and what its limits said.", MetricType::Counter, {}};
  MetricFamily tokens{"switchyard_tenant_tokens_total", "Tokens charged to the tenant.", MetricType::Counter, {}};
  MetricFamily running{"switchyard_tenant_running", "Calls of the tenant under way.", MetricType::Gauge, {}};
  for (const TenantLimits::Usage& usage : gate_.limits().usage()) {
    for (const auto& [result, count] : {std::pair{"admitted", usage.admitted}, std::pair{"rate", usage.refused_rate},
                                        std::pair{"concurrency", usage.refused_concurrency}, std::pair{"tokens", usage.refused_tokens}})
      Add(&requests, {{"tenant", usage.tenant}, {"result", result}}, static_cast<double>(count));
    Add(&tokens, {{"tenant", usage.tenant}}, static_cast<double>(usage.tokens));
    Add(&running, {{"tenant", usage.tenant}}, static_cast<double>(usage.running));
  }
  return {std::move(refused), std::move(requests), std::move(tokens), std::move(running)};
}

}  // namespace switchyard
