#include "engine/stats/load.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/stats/over_layers.h"
#include "engine/stats/routing_entropy.h"

namespace switchyard {
namespace {

double SumOfSquaredDeviations(std::span<const double> counts, double mean) {
  double sum = 0;
  for (const double c : counts) sum += (c - mean) * (c - mean);
  return sum;
}

// (E + 1 - 2 sum_i C_i / C_E) / E over the cumulative sums C of the ascending counts.
double Gini(std::span<const double> counts) {
  std::vector<double> ascending(counts.begin(), counts.end());
  std::sort(ascending.begin(), ascending.end());
  double cumulative = 0;
  double sum_of_cumulative = 0;
  for (const double c : ascending) {
    cumulative += c;
    sum_of_cumulative += cumulative;
  }
  const double experts = static_cast<double>(counts.size());
  return (experts + 1 - 2 * sum_of_cumulative / cumulative) / experts;
}

}  // namespace

std::vector<double> CountSelections(const LayerTrace& trace) {
  std::vector<double> counts(trace.num_experts, 0.0);
  for (const int16_t expert : trace.experts) {
    if (expert != LayerTrace::kUnused) counts[expert] += 1;
  }
  return counts;
}

std::vector<double> WithoutExpert(std::span<const double> counts, size_t expert) {
  std::vector<double> rest(counts.begin(), counts.end());
  if (expert < rest.size()) rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(expert));
  return rest;
}

LoadFigures ComputeLoad(std::span<const double> counts) {
  LoadFigures figures;
  const double sum = std::accumulate(counts.begin(), counts.end(), 0.0);
  if (sum <= 0) return figures;
  const double experts = static_cast<double>(counts.size());
  const double mean = sum / experts;
  const auto [min, max] = std::minmax_element(counts.begin(), counts.end());

  for (const double c : counts) figures.share.push_back(c / sum);
  figures.entropy = EntropyOf(figures.share);
  figures.cv = std::sqrt(SumOfSquaredDeviations(counts, mean) / experts) / mean;
  if (counts.size() > 1) {
    figures.normalised_entropy = *figures.entropy / std::log(experts);
    figures.cv_sample = std::sqrt(SumOfSquaredDeviations(counts, mean) / (experts - 1)) / mean;
  }
  figures.gini = Gini(counts);
  figures.min_max = *min / *max;
  figures.collapse = static_cast<double>(std::count(counts.begin(), counts.end(), 0.0)) / experts;
  figures.utilisation = 1 - *figures.collapse;
  figures.imbalance = *max / mean;
  figures.max_violation = (*max - mean) / mean;
  figures.max_violation_absolute = std::max(*max - mean, mean - *min);
  figures.max_violation_normalised = *figures.max_violation_absolute / mean;
  figures.max_share_deviation = *figures.max_violation_absolute / sum;
  return figures;
}

std::optional<double> CollapseBelow(std::span<const double> counts, double epsilon) {
  const double sum = std::accumulate(counts.begin(), counts.end(), 0.0);
  if (sum <= 0) return std::nullopt;
  const double least = epsilon * sum / static_cast<double>(counts.size());
  const auto low = std::count_if(counts.begin(), counts.end(), [&](double c) { return c == 0 || c < least; });
  return static_cast<double>(low) / static_cast<double>(counts.size());
}

std::optional<double> BatchMaxViolation(const LayerTrace& trace, int64_t batch_rows) {
  if (batch_rows < 1) return std::nullopt;
  std::vector<std::optional<double>> batches;
  for (int64_t begin = 0; begin < trace.rows(); begin += batch_rows) {
    if (begin > 0 && begin + batch_rows > trace.rows()) break;
    LayerTrace batch = trace;
    batch.experts = trace.experts.subspan(begin * trace.k, std::min(batch_rows, trace.rows() - begin) * trace.k);
    batches.push_back(ComputeLoad(CountSelections(batch)).max_violation);
  }
  return MeanOverLayers(batches);
}

}  // namespace switchyard
