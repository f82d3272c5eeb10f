// What soaks print of the times they took.
#pragma once

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

namespace switchyard::soak {

// The value below which a share `q` of `values` lies; 0 of none.
inline double Quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
}

inline nlohmann::ordered_json Times(const std::vector<double>& values) {
  return {{"count", values.size()},
          {"p50_ms", Quantile(values, 0.5)},
          {"p99_ms", Quantile(values, 0.99)},
          {"p999_ms", Quantile(values, 0.999)},
          {"max_ms", Quantile(values, 1)}};
}

}  // namespace switchyard::soak
