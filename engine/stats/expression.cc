#include "engine/stats/expression.h"

#include <cmath>
#include <numeric>

#include "engine/stats/gram.h"

namespace switchyard {

std::optional<double> ExpressionAlignment(std::span<const double> expressions, std::span<const double> routing, int32_t dimension) {
  if (dimension < 1 || expressions.size() != routing.size()) return std::nullopt;
  const auto size = static_cast<size_t>(dimension);
  double sum = 0;
  int64_t experts = 0;
  for (size_t begin = 0; begin + size <= expressions.size(); begin += size) {
    const auto a = expressions.subspan(begin, size), b = routing.subspan(begin, size);
    const double lengths =
        std::sqrt(std::inner_product(a.begin(), a.end(), a.begin(), 0.0) * std::inner_product(b.begin(), b.end(), b.begin(), 0.0));
    if (lengths == 0) continue;
    sum += std::inner_product(a.begin(), a.end(), b.begin(), 0.0) / lengths;
    ++experts;
  }
  if (experts == 0) return std::nullopt;
  return sum / static_cast<double>(experts);
}

std::optional<double> ExpressionOrthogonality(std::span<const double> expressions, int32_t dimension, bool shared) {
  if (shared) return std::nullopt;
  return ComputeGram(expressions, dimension).orthogonality;
}

}  // namespace switchyard
