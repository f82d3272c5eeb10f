#include "trainer/compare/summary.h"

#include "engine/stats/over_layers.h"

namespace switchyard::trainer {
namespace {

std::optional<double> Share(const Proportion& proportion) {
  if (proportion.trials < 1) return std::nullopt;
  return static_cast<double>(proportion.successes) / static_cast<double>(proportion.trials);
}

std::optional<double> AccuracyOf(const ArtifactResult& artifact, Judge judge, size_t set) {
  const std::vector<Proportion>& sets = artifact.accuracy[judge];
  if (set < sets.size()) return Share(sets[set]);
  const auto mean = MeanOfProportions(sets);
  return mean ? std::optional(mean->mean) : std::nullopt;
}

}  // namespace

Figures Over(const MethodResult& method, const std::function<std::optional<double>(const ArtifactResult&)>& figure) {
  std::vector<double> values;
  for (const ArtifactResult& artifact : method.artifacts) {
    const auto value = figure(artifact);
    if (!value) return std::nullopt;
    values.push_back(*value);
  }
  return MeanOfRepetitions(values);
}

Figures AccuracyOf(const MethodResult& method, Judge judge, size_t set) {
  Figures result = Over(method, [&](const ArtifactResult& artifact) { return AccuracyOf(artifact, judge, set); });
  if (!result || method.artifacts.size() > 1) return result;
  const std::vector<Proportion>& sets = method.artifacts.front().accuracy[judge];
  if (set >= sets.size()) return MeanOfProportions(sets);
  result->half_width = HalfWidth95(sets[set]);
  return result;
}

Figures RoutingOf(const MethodResult& method, Figure figure, bool with_zero) {
  return Over(method, [&](const ArtifactResult& artifact) -> std::optional<double> {
    if (!artifact.routing) return std::nullopt;
    return (with_zero ? artifact.routing->with_zero : artifact.routing->domains_only).mean[figure];
  });
}

std::vector<std::optional<double>> TaskSharesOf(const MethodResult& method) {
  if (!method.artifacts.front().routing) return {};
  std::vector<std::optional<double>> shares(method.artifacts.front().routing->with_zero.by_task.size());
  for (size_t i = 0; i < shares.size(); ++i) {
    std::vector<std::optional<double>> cells;
    for (const ArtifactResult& artifact : method.artifacts) cells.push_back(artifact.routing->with_zero.by_task[i]);
    shares[i] = MeanOverLayers(cells);
  }
  return shares;
}

std::vector<std::vector<std::optional<double>>> LoadOf(const MethodResult& method) {
  if (!method.artifacts.front().routing) return {};
  std::vector<std::vector<std::optional<double>>> load;
  for (size_t l = 0; l < method.artifacts.front().routing->with_zero.load.size(); ++l) {
    auto& row = load.emplace_back();
    for (size_t e = 0; e < method.experts.size(); ++e) {
      std::vector<std::optional<double>> cells;
      for (const ArtifactResult& artifact : method.artifacts) {
        const std::vector<double>& shares = artifact.routing->with_zero.load[l];
        cells.push_back(e < shares.size() ? std::optional(shares[e]) : std::nullopt);
      }
      row.push_back(MeanOverLayers(cells));
    }
  }
  return load;
}

std::string Show(const Figures& figures, int decimals, double scale) {
  if (!figures) return "–";
  if (!figures->half_width) return absl::StrFormat("%.*f", decimals, figures->mean * scale);
  return absl::StrFormat("%.*f ± %.*f", decimals, figures->mean * scale, decimals, *figures->half_width * scale);
}

}  // namespace switchyard::trainer
