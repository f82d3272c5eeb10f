#include "engine/stats/interval.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace switchyard {
namespace {

// 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom; beyond them the normal distribution's is at most 4 % too small.
constexpr double kStudent[] = {12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139,
                               2.200985,  2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922, 2.093024, 2.085963,
                               2.079614,  2.073873, 2.068658, 2.063899, 2.059539, 2.055529, 2.051831, 2.048407, 2.045230, 2.042272};
constexpr double kNormal = 1.959963984540054;

}  // namespace

std::optional<Interval> WilsonInterval95(int64_t successes, int64_t trials) {
  if (trials <= 0 || successes < 0 || successes > trials) return std::nullopt;
  const double n = static_cast<double>(trials);
  const double p = static_cast<double>(successes) / n;
  const double scale = 1 + kNormal * kNormal / n;
  const double centre = (p + kNormal * kNormal / (2 * n)) / scale;
  const double half = kNormal / scale * std::sqrt(p * (1 - p) / n + kNormal * kNormal / (4 * n * n));
  return Interval{.low = std::max(0.0, centre - half), .high = std::min(1.0, centre + half)};
}

std::optional<double> HalfWidth95(Proportion proportion) {
  const auto interval = WilsonInterval95(proportion.successes, proportion.trials);
  if (!interval) return std::nullopt;
  return (interval->high - interval->low) / 2;
}

std::optional<MeanWithSpread> MeanOfProportions(std::span<const Proportion> proportions) {
  if (proportions.empty()) return std::nullopt;
  MeanWithSpread result;
  double variance = 0;
  for (const Proportion& proportion : proportions) {
    if (proportion.trials <= 0) return std::nullopt;
    const auto n = static_cast<double>(proportion.trials);
    const double p = static_cast<double>(proportion.successes) / n;
    result.mean += p;
    variance += p * (1 - p) / n;
  }
  result.count = static_cast<int64_t>(proportions.size());
  const auto count = static_cast<double>(result.count);
  result.mean /= count;
  result.half_width = kNormal * std::sqrt(variance) / count;
  return result;
}

std::optional<MeanWithSpread> MeanOfRepetitions(std::span<const double> values) {
  if (values.empty()) return std::nullopt;
  MeanWithSpread result;
  result.count = static_cast<int64_t>(values.size());
  const auto n = static_cast<double>(values.size());
  for (const double value : values) result.mean += value / n;
  if (values.size() < 2) return result;
  double squares = 0;
  for (const double value : values) squares += (value - result.mean) * (value - result.mean);
  const size_t freedom = values.size() - 1;
  const double quantile = freedom <= std::size(kStudent) ? kStudent[freedom - 1] : kNormal;
  result.half_width = quantile * std::sqrt(squares / static_cast<double>(freedom) / n);
  return result;
}

}  // namespace switchyard
