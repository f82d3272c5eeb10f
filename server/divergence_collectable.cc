#include "server/divergence_collectable.h"

#include <string>

#include "server/metric_families.h"

namespace switchyard {
using prometheus::MetricFamily;
using prometheus::MetricType;

std::vector<MetricFamily> DivergenceCollectable::Collect() const {
  MetricFamilies families;
  const auto counter = [&](const char* name, const char* help) -> MetricFamily& {
    return families.Family(name, help, MetricType::Counter);
  };
  MetricFamily& requests = counter("switchyard_divergence_requests_total",
                                   "Requests sampled to compare a candidate router with the stable one, by what became of it.");
  MetricFamily& decisions = counter("switchyard_divergence_decisions_total", "Rows of compared requests, by layer.");
  MetricFamily& best = counter("switchyard_divergence_best_changed_total", "Of these, rows whose best expert is another one.");
  MetricFamily& sets = counter("switchyard_divergence_set_changed_total", "Of these, rows whose selected set is another one.");
  MetricFamily& js = counter("switchyard_divergence_js_nats_total", "Jensen-Shannon divergence of their experts' weights, summed.");
  MetricFamily& answers = counter("switchyard_divergence_answers_total", "Compared Score requests with two continuations or more.");
  MetricFamily& flips = counter("switchyard_divergence_answer_flips_total", "Of these, requests whose best continuation is another one.");
  MetricFamily& away = counter("switchyard_automatic_rollbacks_total", "Times a router lost its role for crossing a bound.");
  MetricFamily& kept = counter("switchyard_automatic_rollback_failures_total", "Times it should have lost it, and the change failed.");
  for (const RouterRole role : {RouterRole::kCanary, RouterRole::kShadow}) {
    const auto totals = watch_.totals(role);
    if (!totals) continue;
    const DivergenceFigures& figures = totals->figures;
    const std::string name = RoleName(role);
    const auto number = [](uint64_t count) { return static_cast<double>(count); };
    for (const auto& [result, count] :
         {std::pair{"compared", figures.compared}, std::pair{"skipped", figures.skipped}, std::pair{"failed", figures.failed}})
      MetricFamilies::Add(requests, {{"role", name}, {"result", result}}, number(count));
    for (size_t layer = 0; layer < figures.routes.layers.size(); ++layer) {
      const RouteDivergence::Layer& sums = figures.routes.layers[layer];
      const MetricFamilies::Labels labels = {{"role", name}, {"layer", std::to_string(layer)}};
      MetricFamilies::Add(decisions, labels, number(sums.rows));
      MetricFamilies::Add(best, labels, number(sums.best_changed));
      MetricFamilies::Add(sets, labels, number(sums.set_changed));
      MetricFamilies::Add(js, labels, sums.js_nats);
    }
    MetricFamilies::Add(answers, {{"role", name}}, number(figures.answers));
    MetricFamilies::Add(flips, {{"role", name}}, number(figures.answer_flips));
    MetricFamilies::Add(away, {{"role", name}}, number(totals->taken_away));
    MetricFamilies::Add(kept, {{"role", name}}, number(totals->not_taken_away));
  }
  return families.Take();
}

}  // namespace switchyard
