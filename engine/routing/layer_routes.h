// The routes of T rows in one layer: plain arrays, filled by the router or by a fixed policy, read by the mixture and the metrics.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

namespace switchyard {

struct LayerRoutes {
  static constexpr int16_t kUnused = -1;  // an empty slot; its weight is 0 and stays with the base
  int64_t rows = 0;
  int32_t k = 0;                 // slots a row
  std::vector<int16_t> experts;  // [rows, k] by descending selection score
  std::vector<float> weights;    // [rows, k]
  std::vector<float> margin;     // [rows] +inf when nothing was refused
  std::vector<float> entropy;    // [rows] nats; NaN without a distribution

  void Resize(int64_t new_rows, int32_t new_k) {
    rows = new_rows;
    k = new_k;
    experts.assign(rows * k, kUnused);
    weights.assign(rows * k, 0.0f);
    margin.assign(rows, std::numeric_limits<float>::infinity());
    entropy.assign(rows, std::numeric_limits<float>::quiet_NaN());
  }
};

}  // namespace switchyard
