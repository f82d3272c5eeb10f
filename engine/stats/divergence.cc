#include "engine/stats/divergence.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace switchyard {

std::optional<double> JensenShannonDivergence(std::span<const double> p, std::span<const double> q) {
  const double p_sum = std::accumulate(p.begin(), p.end(), 0.0), q_sum = std::accumulate(q.begin(), q.end(), 0.0);
  if (p.size() != q.size() || !(p_sum > 0) || !(q_sum > 0)) return std::nullopt;
  double divergence = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    const double a = p[i] / p_sum, b = q[i] / q_sum, mean = (a + b) / 2;
    if (a > 0) divergence += a / 2 * std::log(a / mean);
    if (b > 0) divergence += b / 2 * std::log(b / mean);
  }
  return std::max(0.0, divergence);  // rounding may leave it a hair below
}

}  // namespace switchyard
