#include "engine/stats/interval.h"

#include <algorithm>
#include <cmath>

namespace switchyard {

std::optional<Interval> WilsonInterval95(int64_t successes, int64_t trials) {
  if (trials <= 0 || successes < 0 || successes > trials) return std::nullopt;
  constexpr double kZ = 1.959963984540054;  // 97.5 % quantile of the normal distribution
  const double n = static_cast<double>(trials);
  const double p = static_cast<double>(successes) / n;
  const double scale = 1 + kZ * kZ / n;
  const double centre = (p + kZ * kZ / (2 * n)) / scale;
  const double half = kZ / scale * std::sqrt(p * (1 - p) / n + kZ * kZ / (4 * n * n));
  return Interval{.low = std::max(0.0, centre - half), .high = std::min(1.0, centre + half)};
}

}  // namespace switchyard
