#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "tests/kernels/kernel_testing.h"

namespace switchyard::kernels {
namespace {

struct Weights {
  int64_t n, k;
  std::vector<float> values;  // as the kernel sees them: bf16 values for bf16
  std::unique_ptr<PackedMatrix> packed;
};

Weights MakeWeights(Random& random, int64_t n, int64_t k, WeightType type) {
  Weights w{n, k, random.Floats(n * k, 0.5f), nullptr};
  if (type == WeightType::kF32) {
    w.packed = PackedMatrix::PackF32(w.values.data(), n, k, k);
  } else {
    std::vector<bf16> narrow(w.values.size());
    F32ToBf16(w.values.data(), n * k, narrow.data());
    Bf16ToF32(narrow.data(), n * k, w.values.data());
    w.packed = PackedMatrix::PackBF16(narrow.data(), n, k, k);
  }
  return w;
}

// Sums in float err by a few units of the last place of the sum of magnitudes.
void ExpectNearReference(const std::vector<float>& y, const std::vector<float>& x, int64_t m, const Weights& w, const float* bias,
                         const std::vector<float>* before, WeightType type) {
  std::vector<float> x_seen = x;
  if (type == WeightType::kBF16) {
    std::vector<bf16> narrow(x.size());
    F32ToBf16(x.data(), static_cast<int64_t>(x.size()), narrow.data());
    Bf16ToF32(narrow.data(), static_cast<int64_t>(x.size()), x_seen.data());
  }
  for (int64_t r = 0; r < m; ++r) {
    for (int64_t c = 0; c < w.n; ++c) {
      double sum = before ? (*before)[r * w.n + c] : 0.0, magnitude = std::abs(sum);
      if (bias) sum += bias[c], magnitude += std::abs(bias[c]);
      for (int64_t i = 0; i < w.k; ++i) {
        const double term = static_cast<double>(x_seen[r * w.k + i]) * w.values[c * w.k + i];
        sum += term;
        magnitude += std::abs(term);
      }
      ASSERT_NEAR(y[r * w.n + c], sum, magnitude * 2e-6 + 1e-30)
          << "row " << r << " column " << c << " m " << m << " n " << w.n << " k " << w.k;
    }
  }
}

using GemmTest = IsaTest;
INSTANTIATE_FOR_EVERY_ISA(GemmTest);

TEST_P(GemmTest, MatchesDoubleSumsOnOddShapes) {
  Random random(1);
  ThreadPool pool(2);
  for (const WeightType type : {WeightType::kBF16, WeightType::kF32}) {
    for (int round = 0; round < 40; ++round) {
      const int64_t m = random.Between(1, 20), n = random.Between(1, 150), k = random.Between(1, 200);
      const Weights w = MakeWeights(random, n, k, type);
      const std::vector<float> x = random.Floats(m * k), bias = random.Floats(n), before = random.Floats(m * n);
      std::vector<float> y(m * n, std::numeric_limits<float>::quiet_NaN());  // must not be read
      Gemm(pool, x.data(), m, k, *w.packed, nullptr, y.data(), n, false);
      ExpectNearReference(y, x, m, w, nullptr, nullptr, type);
      y = before;
      Gemm(pool, x.data(), m, k, *w.packed, bias.data(), y.data(), n, true);
      ExpectNearReference(y, x, m, w, bias.data(), &before, type);
    }
  }
}

TEST_P(GemmTest, ReferenceLoopAgreesWithTheKernel) {
  Random random(2);
  ThreadPool pool(1);
  for (const WeightType type : {WeightType::kBF16, WeightType::kF32}) {
    const int64_t m = 7, n = 45, k = 333;
    const Weights w = MakeWeights(random, n, k, type);
    const std::vector<float> x = random.Floats(m * k), bias = random.Floats(n);
    std::vector<float> fast(m * n, 1.0f), slow(m * n, 1.0f);
    Gemm(pool, x.data(), m, k, *w.packed, bias.data(), fast.data(), n, true);
    GemmReference(x.data(), m, k, w.values.data(), n, k, bias.data(), slow.data(), n, true, type);
    EXPECT_THAT(fast, testing::Pointwise(testing::FloatNear(1e-3f), slow));
  }
}

// The contract of kernels.h: alone, in any block of rows, on any number of threads: the same bits.
TEST_P(GemmTest, ARowIsTheSameBitsInEveryShapeOfCall) {
  Random random(3);
  ThreadPool one(1), two(2), three(3), four(4);
  ThreadPool* pools[] = {&one, &two, &three, &four};
  for (const WeightType type : {WeightType::kBF16, WeightType::kF32}) {
    for (int round = 0; round < 8; ++round) {
      // Large enough for several k tiles in some rounds.
      const int64_t n = random.Between(1, 200), k = round % 4 == 3 ? random.Between(5000, 9000) : random.Between(1, 700),
                    m = random.Between(7, 150);
      const Weights w = MakeWeights(random, n, k, type);
      const std::vector<float> x = random.Floats(m * k), bias = random.Floats(n);
      const bool accumulate = round % 2 == 1;
      const std::vector<float> before = random.Floats(m * n);
      std::vector<float> alone = before;
      for (int64_t r = 0; r < m; ++r) Gemm(one, x.data() + r * k, 1, k, *w.packed, bias.data(), alone.data() + r * n, n, accumulate);
      for (ThreadPool* pool : pools) {
        std::vector<float> whole = before;
        Gemm(*pool, x.data(), m, k, *w.packed, bias.data(), whole.data(), n, accumulate);
        ASSERT_TRUE(SameBits(alone.data(), whole.data(), m * n)) << "m " << m << " n " << n << " k " << k << " threads " << pool->threads();
        std::vector<float> cut = before;
        for (int64_t r = 0; r < m;) {
          const int64_t rows = std::min(m - r, random.Between(1, 17));
          Gemm(*pool, x.data() + r * k, rows, k, *w.packed, bias.data(), cut.data() + r * n, n, accumulate);
          r += rows;
        }
        ASSERT_TRUE(SameBits(alone.data(), cut.data(), m * n)) << "m " << m << " n " << n << " k " << k << " threads " << pool->threads();
      }
    }
  }
}

TEST_P(GemmTest, HonoursStridesAndTouchesNothingElse) {
  Random random(4);
  ThreadPool pool(2);
  for (const WeightType type : {WeightType::kBF16, WeightType::kF32}) {
    const int64_t m = 9, n = 37, k = 51, x_stride = 60, y_stride = 41;
    const Weights w = MakeWeights(random, n, k, type);
    const std::vector<float> x = random.Floats(m * x_stride);
    std::vector<float> dense_x, y(m * y_stride, -7.0f), dense_y(m * n);
    for (int64_t r = 0; r < m; ++r) dense_x.insert(dense_x.end(), x.begin() + r * x_stride, x.begin() + r * x_stride + k);
    Gemm(pool, x.data(), m, x_stride, *w.packed, nullptr, y.data(), y_stride, false);
    Gemm(pool, dense_x.data(), m, k, *w.packed, nullptr, dense_y.data(), n, false);
    for (int64_t r = 0; r < m; ++r) {
      EXPECT_TRUE(SameBits(&y[r * y_stride], &dense_y[r * n], n));
      for (int64_t c = n; c < y_stride; ++c) EXPECT_EQ(y[r * y_stride + c], -7.0f);
    }
  }
}

TEST_P(GemmTest, PacksAViewWithARowStride) {
  Random random(5);
  ThreadPool pool(1);
  const int64_t n = 20, k = 33, stride = 40;
  const std::vector<float> wide = random.Floats(n * stride), x = random.Floats(k);
  std::vector<float> dense;
  for (int64_t r = 0; r < n; ++r) dense.insert(dense.end(), wide.begin() + r * stride, wide.begin() + r * stride + k);
  const auto from_view = PackedMatrix::PackF32(wide.data(), n, k, stride), from_dense = PackedMatrix::PackF32(dense.data(), n, k, k);
  std::vector<float> a(n), b(n);
  Gemm(pool, x.data(), 1, k, *from_view, nullptr, a.data(), n, false);
  Gemm(pool, x.data(), 1, k, *from_dense, nullptr, b.data(), n, false);
  EXPECT_EQ(a, b);
  EXPECT_EQ(from_view->n(), n);
  EXPECT_EQ(from_view->k(), k);
  EXPECT_EQ(from_view->type(), WeightType::kF32);
  EXPECT_GE(from_view->bytes(), n * k * 4);
}

TEST_P(GemmTest, EmptySidesAreAllowed) {
  ThreadPool pool(2);
  const float nothing = 0.0f;
  float y[3] = {1.0f, 2.0f, 3.0f};
  const float bias[3] = {10.0f, 20.0f, 30.0f};
  for (const WeightType type : {WeightType::kBF16, WeightType::kF32}) {
    const bf16 no_weight = 0;
    const auto pack = [&](int64_t n, int64_t k) {
      return type == WeightType::kF32 ? PackedMatrix::PackF32(&nothing, n, k, k) : PackedMatrix::PackBF16(&no_weight, n, k, k);
    };
    Gemm(pool, &nothing, 0, 1, *pack(1, 1), nullptr, y, 3, false);
    Gemm(pool, &nothing, 1, 1, *pack(0, 1), nullptr, y, 3, false);
    EXPECT_THAT(y, testing::ElementsAre(1.0f, 2.0f, 3.0f));
    float z[3] = {1.0f, 2.0f, 3.0f};
    Gemm(pool, &nothing, 1, 0, *pack(3, 0), bias, z, 3, true);  // an empty sum
    EXPECT_THAT(z, testing::ElementsAre(11.0f, 22.0f, 33.0f));
    Gemm(pool, &nothing, 1, 0, *pack(3, 0), nullptr, z, 3, false);
    EXPECT_THAT(z, testing::Each(0.0f));
  }
}

TEST_P(GemmTest, NanAndInfinityReachTheirOwnRowOnly) {
  Random random(6);
  ThreadPool pool(2);
  for (const WeightType type : {WeightType::kBF16, WeightType::kF32}) {
    const int64_t m = 8, n = 21, k = 31;
    const Weights w = MakeWeights(random, n, k, type);
    std::vector<float> x = random.Floats(m * k), y(m * n);
    // A payload in the low bits only must not be rounded into an infinity.
    x[2 * k + 5] = __builtin_bit_cast(float, 0x7f800001u);
    x[5 * k + 30] = std::numeric_limits<float>::infinity();
    Gemm(pool, x.data(), m, k, *w.packed, nullptr, y.data(), n, false);
    for (int64_t r = 0; r < m; ++r) {
      for (int64_t c = 0; c < n; ++c) {
        if (r == 2) {
          EXPECT_TRUE(std::isnan(y[r * n + c]));
        } else {
          EXPECT_EQ(std::isfinite(y[r * n + c]), r != 5) << r << " " << c;
        }
      }
    }
  }
}

TEST(Isa, CannotBeRaisedAboveTheCpu) {
  SetIsa(Isa::kAvx512Bf16);
  EXPECT_EQ(CurrentIsa(), BestIsa());
  SetIsa(Isa::kScalar);
  EXPECT_EQ(CurrentIsa(), Isa::kScalar);
  EXPECT_STREQ(IsaName(CurrentIsa()), "scalar");
  SetIsa(BestIsa());
}

}  // namespace
}  // namespace switchyard::kernels
