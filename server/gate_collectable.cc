#include "server/gate_collectable.h"

#include <string>
#include <utility>

#include "server/metric_families.h"

namespace switchyard {
using prometheus::MetricFamily;
using prometheus::MetricType;

std::vector<MetricFamily> GateCollectable::Collect() const {
  MetricFamilies families;
  MetricFamily& refused =
      families.Family("switchyard_auth_refused_total", "Calls refused for their token, by reason.", MetricType::Counter);
  auto counts = gate_.authorizer().refused();
  if (admin_ != nullptr) {
    const auto more = admin_->refused();
    for (size_t i = 0; i < counts.size(); ++i) counts[i] += more[i];
  }
  for (size_t i = 0; i < counts.size(); ++i)
    MetricFamilies::Add(refused, {{"reason", Authorizer::kReasons[i]}}, static_cast<double>(counts[i]));
  MetricFamily& requests =
      families.Family("switchyard_tenant_requests_total", "Requests by tenant and what its limits said.", MetricType::Counter);
  MetricFamily& tokens = families.Family("switchyard_tenant_tokens_total", "Tokens charged to the tenant.", MetricType::Counter);
  MetricFamily& running = families.Family("switchyard_tenant_running", "Calls of the tenant under way.", MetricType::Gauge);
  for (const TenantLimits::Usage& usage : gate_.limits().usage()) {
    for (const auto& [result, count] : {std::pair{"admitted", usage.admitted}, std::pair{"rate", usage.refused_rate},
                                        std::pair{"concurrency", usage.refused_concurrency}, std::pair{"tokens", usage.refused_tokens}})
      MetricFamilies::Add(requests, {{"tenant", usage.tenant}, {"result", result}}, static_cast<double>(count));
    MetricFamilies::Add(tokens, {{"tenant", usage.tenant}}, static_cast<double>(usage.tokens));
    MetricFamilies::Add(running, {{"tenant", usage.tenant}}, static_cast<double>(usage.running));
  }
  return families.Take();
}

}  // namespace switchyard
