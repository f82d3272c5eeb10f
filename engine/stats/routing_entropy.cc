#include "engine/stats/routing_entropy.h"

#include <cmath>
#include <vector>

namespace switchyard {

double EntropyOf(std::span<const double> probabilities) {
  double entropy = 0;
  for (const double p : probabilities) {
    if (p > 0) entropy -= p * std::log(p);
  }
  return entropy;
}

std::optional<double> RoutingEntropy(std::span<const double> probabilities, int32_t num_experts) {
  if (num_experts < 1 || probabilities.empty()) return std::nullopt;
  const size_t rows = probabilities.size() / num_experts;
  double sum = 0;
  for (size_t row = 0; row < rows; ++row) sum += EntropyOf(probabilities.subspan(row * num_experts, num_experts));
  return sum / static_cast<double>(rows);
}

std::optional<double> NormalisedRoutingEntropy(std::span<const double> probabilities, int32_t num_experts) {
  const auto entropy = RoutingEntropy(probabilities, num_experts);
  if (!entropy || num_experts < 2) return std::nullopt;
  return *entropy / std::log(static_cast<double>(num_experts));
}

std::optional<double> SelectedEntropy(const LayerTrace& trace) {
  double sum = 0;
  int64_t rows = 0;
  for (int64_t row = 0; row < trace.rows(); ++row) {
    std::vector<double> weights;
    double total = 0;
    for (int32_t slot = 0; slot < trace.k; ++slot) {
      if (trace.chosen(row)[slot] == LayerTrace::kUnused) continue;
      weights.push_back(trace.weights[row * trace.k + slot]);
      total += weights.back();
    }
    if (weights.size() < 2 || total <= 0) continue;
    for (double& w : weights) w /= total;
    sum += EntropyOf(weights) / std::log(static_cast<double>(weights.size()));
    ++rows;
  }
  if (rows == 0) return std::nullopt;
  return sum / static_cast<double>(rows);
}

}  // namespace switchyard
