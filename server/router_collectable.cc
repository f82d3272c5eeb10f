#include "server/router_collectable.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "engine/stats/divergence.h"
#include "engine/stats/load.h"
#include "server/metric_families.h"

namespace switchyard {
namespace {
using prometheus::MetricFamily;
using prometheus::MetricType;

RouterFigures::Load LoadOf(std::span<const double> counts, std::span<const double> trained) {
  const LoadFigures load = ComputeLoad(counts);
  RouterFigures::Load figures{.utilisation = load.utilisation,
                              .entropy = load.normalised_entropy,
                              .imbalance = load.imbalance,
                              .max_violation = load.max_violation,
                              .cv = load.cv,
                              .gini = load.gini,
                              .dead_experts = std::nullopt,
                              .drift = JensenShannonDivergence(counts, trained)};
  if (load.collapse) figures.dead_experts = std::round(*load.collapse * static_cast<double>(counts.size()));
  return figures;
}

// One column of figures under one name.
using Value = std::optional<double>;
struct LoadMetric {
  const char* name;
  const char* help;
  Value RouterFigures::Load::*value;
};
constexpr LoadMetric kLoadMetrics[] = {
    {"switchyard_router_utilisation_ratio", "Part of the experts that were chosen at all, by layer.", &RouterFigures::Load::utilisation},
    {"switchyard_router_load_entropy_ratio", "Entropy of the load over its maximum, by layer.", &RouterFigures::Load::entropy},
    {"switchyard_router_load_imbalance_ratio", "Largest load over the mean load, by layer.", &RouterFigures::Load::imbalance},
    {"switchyard_router_load_max_violation_ratio", "Largest load above the mean, over the mean, by layer.",
     &RouterFigures::Load::max_violation},
    {"switchyard_router_load_cv_ratio", "Standard deviation of the load over its mean, by layer.", &RouterFigures::Load::cv},
    {"switchyard_router_load_gini_ratio", "Gini coefficient of the load, by layer.", &RouterFigures::Load::gini},
    {"switchyard_router_dead_experts", "Experts that were not chosen once, by layer.", &RouterFigures::Load::dead_experts},
    {"switchyard_router_load_drift_nats", "Jensen-Shannon divergence of the load from the one over the training data, by layer.",
     &RouterFigures::Load::drift},
};
struct LayerMetric {
  const char* name;
  const char* help;
  Value RouterFigures::*value;
};
constexpr LayerMetric kLayerMetrics[] = {
    {"switchyard_router_entropy_ratio", "Entropy of the router's distribution over its maximum, mean over tokens, by layer.",
     &RouterFigures::entropy},
    {"switchyard_router_zero_weight_ratio", "Weight on the zero expert, mean over tokens, by layer.", &RouterFigures::zero_share},
    {"switchyard_router_base_mass_ratio", "Weight the base block spoke with, mean over tokens, by layer.", &RouterFigures::base_mass},
    {"switchyard_router_flip_ratio", "Part of neighbouring tokens of a sequence whose best experts differ, by layer.",
     &RouterFigures::flips},
};

struct Role {
  const char* name;
  std::shared_ptr<const Snapshot> snapshot;
  RouterSums sums;
};

}  // namespace

RouterFigures FiguresOf(const RouterSums& sums, const SnapshotInfo& info, size_t layer) {
  RouterFigures figures;
  figures.rows = sums.rows[layer];
  if (figures.rows == 0) return figures;
  const size_t experts = static_cast<size_t>(info.learned_experts);
  const uint64_t* tokens = sums.tokens.data() + layer * sums.experts;
  const double* weight = sums.weight.data() + layer * sums.experts;
  std::vector<double> counts(tokens, tokens + experts), trained;
  if (!info.trained_load.empty()) {
    const auto first = info.trained_load.begin() + static_cast<std::ptrdiff_t>(layer * experts);
    trained.assign(first, first + static_cast<std::ptrdiff_t>(experts));
  }
  const auto zero =
      static_cast<size_t>(std::find_if(info.experts.begin(), info.experts.end(), [](const SnapshotInfo::Expert& e) { return e.is_zero; }) -
                          info.experts.begin());
  figures.all = LoadOf(counts, trained);
  figures.domains = LoadOf(WithoutExpert(counts, zero), WithoutExpert(trained, zero));

  const double rows = static_cast<double>(figures.rows);
  double given = 0;
  for (size_t e = 0; e < experts; ++e) given += e == zero ? 0 : weight[e];
  figures.base_mass = 1 - given / rows;
  if (zero < experts) figures.zero_share = weight[zero] / rows;
  if (experts > 1) figures.entropy = sums.entropy_sum[layer] / rows / std::log(static_cast<double>(experts));
  if (sums.pairs[layer] > 0) figures.flips = static_cast<double>(sums.flips[layer]) / static_cast<double>(sums.pairs[layer]);
  return figures;
}

std::vector<MetricFamily> RouterCollectable::Collect() const {
  const auto serving = engine_.serving();
  const std::vector<RouterSums> all = engine_.router_sums();
  const Clock::Time now = Clock::Real()->Now();
  std::vector<Role> roles;
  for (const auto& [name, snapshot] :
       {std::pair{"stable", serving->stable}, std::pair{"canary", serving->canary}, std::pair{"shadow", serving->shadow}}) {
    if (snapshot == nullptr || snapshot->info().learned_experts == 0) continue;
    const auto sums =
        std::find_if(all.begin(), all.end(), [&](const RouterSums& s) { return s.generation == snapshot->info().generation; });
    if (sums != all.end()) roles.push_back({name, snapshot, window_.Growth(now, *sums)});
  }
  MetricFamilies families;
  std::vector<MetricFamily*> load, layer;
  for (const LoadMetric& metric : kLoadMetrics) load.push_back(&families.Family(metric.name, metric.help, MetricType::Gauge));
  for (const LayerMetric& metric : kLayerMetrics) layer.push_back(&families.Family(metric.name, metric.help, MetricType::Gauge));
  MetricFamily& rows =
      families.Family("switchyard_router_rows", "Tokens the figures of the window are about, by layer.", MetricType::Gauge);
  for (const Role& role : roles) {
    for (size_t l = 0; l < role.sums.rows.size(); ++l) {
      const RouterFigures figures = FiguresOf(role.sums, role.snapshot->info(), l);
      MetricFamilies::Labels labels = {{"role", role.name}, {"layer", std::to_string(l)}, {"window", RouteWindow::kName}};
      MetricFamilies::Add(rows, labels, static_cast<double>(figures.rows));
      for (size_t m = 0; m < layer.size(); ++m) {
        if (const Value value = figures.*kLayerMetrics[m].value) MetricFamilies::Add(*layer[m], labels, *value);
      }
      labels.emplace_back("experts", "");
      for (const auto& [variant, part] : {std::pair{"all", &figures.all}, std::pair{"domains", &figures.domains}}) {
        labels.back().second = variant;
        for (size_t m = 0; m < load.size(); ++m) {
          if (const Value value = part->*kLoadMetrics[m].value) MetricFamilies::Add(*load[m], labels, *value);
        }
      }
    }
  }
  return families.Take();
}

}  // namespace switchyard
