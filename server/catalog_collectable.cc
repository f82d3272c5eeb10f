#include "server/catalog_collectable.h"

#include <string>

#include "server/metric_families.h"

namespace switchyard {
using prometheus::MetricFamily;
using prometheus::MetricType;

std::vector<MetricFamily> CatalogCollectable::Collect() const {
  const CatalogFigures figures = catalog_.Figures();
  const auto number = [](auto value) { return static_cast<double>(value); };
  MetricFamilies families;
  MetricFamily& operations =
      families.Family("switchyard_catalog_operations_total", "Operations ended, by kind and result.", MetricType::Counter);
  for (const auto& [key, count] : figures.totals.finished)
    MetricFamilies::Add(operations, {{"kind", key.first}, {"result", StateName(key.second)}}, number(count));
  MetricFamily& failures = families.Family("switchyard_catalog_failures_total", "Operations that failed, by step.", MetricType::Counter);
  MetricFamily& durations =
      families.Family("switchyard_catalog_step_duration_seconds", "How long the steps of operations took.", MetricType::Histogram);
  for (size_t s = 0; s < static_cast<size_t>(LoadStep::kDone); ++s) {
    const char* step = StepName(static_cast<LoadStep>(s));
    const auto failed = figures.totals.failed_by_step.find(step);
    MetricFamilies::Add(failures, {{"step", step}}, failed == figures.totals.failed_by_step.end() ? 0 : number(failed->second));
    if (static_cast<LoadStep>(s) != LoadStep::kQueued) MetricFamilies::AddHistogram(durations, {{"step", step}}, figures.step_durations[s]);
  }
  families.Gauge("switchyard_catalog_queued_operations", "Operations that wait for the one under way.", number(figures.queued));
  families.Gauge("switchyard_catalog_revision", "Grows by one with every published content.", number(figures.revision));
  MetricFamily& names = families.Family("switchyard_catalog_names", "Loaded names, by kind.", MetricType::Gauge);
  MetricFamily& limits = families.Family("switchyard_catalog_names_limit", "Names that may be loaded, by kind.", MetricType::Gauge);
  MetricFamilies::Add(names, {{"kind", "expert"}}, number(figures.experts));
  MetricFamilies::Add(names, {{"kind", "router"}}, number(figures.routers));
  MetricFamilies::Add(limits, {{"kind", "expert"}}, number(figures.budget.max_experts));
  MetricFamilies::Add(limits, {{"kind", "router"}}, number(figures.budget.max_routers));
  families.Gauge("switchyard_catalog_resident_bytes", "Experts and routers: served, being loaded, and retired until they are freed.",
                 number(figures.resident_bytes));
  MetricFamily& budget = families.Family("switchyard_catalog_budget_bytes", "Bound on the resident bytes.", MetricType::Gauge);
  if (figures.budget.memory_bytes > 0) MetricFamilies::Add(budget, {}, number(figures.budget.memory_bytes));
  families.Gauge("switchyard_catalog_retired_snapshots", "Snapshots that nothing new runs on and requests still lease.",
                 number(figures.retired.snapshots));
  families.Gauge("switchyard_catalog_retired_parts", "Experts and routers that nothing new runs on and are not freed.",
                 number(figures.retired.parts));
  families.Gauge("switchyard_catalog_retired_bytes", "Bytes of these.", number(figures.retired.part_bytes));
  MetricFamily& oldest = families.Family("switchyard_catalog_oldest_retired_seconds",
                                         "How long the oldest retired snapshot or part has waited to be freed.", MetricType::Gauge);
  if (figures.retired.oldest_seconds) MetricFamilies::Add(oldest, {}, *figures.retired.oldest_seconds);
  families.Counter("switchyard_catalog_freed_bytes_total", "Bytes of experts and routers freed.", number(figures.totals.freed_bytes));
  return families.Take();
}

}  // namespace switchyard
