#include "engine/stats/gram.h"

#include <cmath>
#include <numeric>
#include <vector>

namespace switchyard {
namespace {

std::vector<std::vector<double>> UnitRows(std::span<const double> rows, int32_t dimension) {
  std::vector<std::vector<double>> units;
  for (size_t begin = 0; begin + dimension <= rows.size(); begin += dimension) {
    std::vector<double> row(rows.begin() + begin, rows.begin() + begin + dimension);
    const double norm = std::sqrt(std::inner_product(row.begin(), row.end(), row.begin(), 0.0));
    if (norm == 0) continue;
    for (double& x : row) x /= norm;
    units.push_back(std::move(row));
  }
  return units;
}

}  // namespace

GramFigures ComputeGram(std::span<const double> rows, int32_t dimension) {
  GramFigures figures;
  if (dimension < 1) return figures;
  const auto units = UnitRows(rows, dimension);
  if (units.empty()) return figures;
  double sum = 0;
  double sum_abs = 0;
  double sum_squares = 0;
  for (size_t i = 0; i < units.size(); ++i) {
    for (size_t j = 0; j < units.size(); ++j) {
      if (i == j) continue;
      const double g = std::inner_product(units[i].begin(), units[i].end(), units[j].begin(), 0.0);
      sum += g;
      sum_abs += std::abs(g);
      sum_squares += g * g;
    }
  }
  const double experts = static_cast<double>(units.size());
  figures.orthogonality = 1 - std::sqrt(sum_squares) / (experts * std::sqrt(2.0));
  if (units.size() < 2) return figures;
  const double pairs = experts * (experts - 1);
  figures.mean_abs = sum_abs / pairs;
  figures.orthogonality_rms = 1 - std::sqrt(sum_squares / pairs);
  figures.diversity = 1 - sum / pairs;
  return figures;
}

std::vector<double> ProbabilityColumns(std::span<const float> probabilities, int32_t num_experts) {
  if (num_experts < 1) return {};
  const auto experts = static_cast<size_t>(num_experts);
  const size_t tokens = probabilities.size() / experts;
  std::vector<double> columns(experts * tokens);
  for (size_t e = 0; e < experts; ++e) {
    double sum = 0;
    for (size_t t = 0; t < tokens; ++t) sum += probabilities[t * experts + e];
    for (size_t t = 0; t < tokens; ++t) columns[e * tokens + t] = probabilities[t * experts + e] - sum / static_cast<double>(tokens);
  }
  return columns;
}

}  // namespace switchyard
