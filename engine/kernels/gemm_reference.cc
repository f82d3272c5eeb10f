#include <cmath>

#include "engine/kernels/kernels.h"

namespace switchyard::kernels {

namespace {

float RoundToBf16(float v) {
  if (std::isnan(v)) return v;
  const uint32_t u = __builtin_bit_cast(uint32_t, v);
  return __builtin_bit_cast(float, (u + 0x7fffu + ((u >> 16) & 1u)) & 0xffff0000u);
}

}  // namespace

void GemmReference(const float* x, int64_t m, int64_t x_stride, const float* w, int64_t n, int64_t k, const float* bias, float* y,
                   int64_t y_stride, bool accumulate, WeightType type) {
  for (int64_t row = 0; row < m; ++row) {
    for (int64_t column = 0; column < n; ++column) {
      float sum = 0.0f;
      for (int64_t i = 0; i < k; ++i) {
        const float v = x[row * x_stride + i];
        sum += (type == WeightType::kBF16 ? RoundToBf16(v) : v) * w[column * k + i];
      }
      if (bias != nullptr) sum += bias[column];
      float& out = y[row * y_stride + column];
      out = accumulate ? out + sum : sum;
    }
  }
}

}  // namespace switchyard::kernels
