#include <cmath>
#include <limits>

#include "tests/kernels/kernel_testing.h"

namespace switchyard::kernels {
namespace {

using LoraTest = IsaTest;
INSTANTIATE_FOR_EVERY_ISA(LoraTest);

TEST_P(LoraTest, ShrinkMatchesDouble) {
  Random random(1);
  for (const int64_t k : {1, 7, 16, 33, 576, 1537}) {
    for (const int64_t rank : {1, 4, 8, 9, 16, 31, 64}) {
      const std::vector<float> x = random.Floats(k), a = random.Floats(rank * k);
      std::vector<float> z(rank + 1, -5.0f);
      LoraShrink(x.data(), k, a.data(), rank, z.data());
      for (int64_t r = 0; r < rank; ++r) {
        double sum = 0, magnitude = 0;
        for (int64_t i = 0; i < k; ++i) sum += static_cast<double>(a[r * k + i]) * x[i], magnitude += std::abs(a[r * k + i] * x[i]);
        ASSERT_NEAR(z[r], sum, magnitude * 1e-6) << "k " << k << " rank " << rank;
      }
      ASSERT_EQ(z[rank], -5.0f);
    }
  }
}

TEST_P(LoraTest, ExpandAddsTheScaledProduct) {
  Random random(2);
  for (const int64_t n : {1, 15, 16, 65, 576, 1543}) {
    for (const int64_t rank : {0, 1, 8, 17}) {
      const std::vector<float> z = random.Floats(rank), b_t = random.Floats(rank * n), before = random.Floats(n + 1);
      std::vector<float> y = before;
      LoraExpandAdd(z.data(), rank, b_t.data(), n, 0.25f, y.data());
      for (int64_t i = 0; i < n; ++i) {
        double sum = 0, magnitude = std::abs(before[i]);
        for (int64_t r = 0; r < rank; ++r) sum += static_cast<double>(z[r]) * b_t[r * n + i], magnitude += std::abs(z[r] * b_t[r * n + i]);
        ASSERT_NEAR(y[i], before[i] + 0.25 * sum, magnitude * 1e-6);
      }
      ASSERT_EQ(y[n], before[n]);
    }
  }
}

TEST_P(LoraTest, NanIsNeverHidden) {
  const int64_t n = 40, k = 40;
  std::vector<float> x(k, 0.0f), a(2 * k, 0.0f), z(2), y(n, 0.0f);
  x[39] = std::numeric_limits<float>::quiet_NaN();
  LoraShrink(x.data(), k, a.data(), 2, z.data());
  EXPECT_TRUE(std::isnan(z[0]) && std::isnan(z[1]));
  LoraExpandAdd(z.data(), 2, a.data(), n, 0.0f, y.data());
  for (const float v : y) EXPECT_TRUE(std::isnan(v));
}

}  // namespace
}  // namespace switchyard::kernels
