#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "tests/kernels/kernel_testing.h"

namespace switchyard::kernels {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

double Silu(double x) { return x / (1.0 + std::exp(-x)); }

using ElementwiseTest = IsaTest;
INSTANTIATE_FOR_EVERY_ISA(ElementwiseTest);

TEST_P(ElementwiseTest, RmsNormMatchesDouble) {
  Random random(1);
  ThreadPool pool(2);
  for (const int64_t width : {1, 2, 15, 16, 17, 63, 576, 577, 2048}) {
    const int64_t rows = 20, stride = width + 3;
    const std::vector<float> x = random.Floats(rows * stride, 3.0f), weight = random.Floats(width);
    std::vector<float> y(rows * stride, -1.0f);
    RmsNorm(pool, x.data(), rows, stride, weight.data(), width, 1e-5f, y.data(), stride);
    for (int64_t r = 0; r < rows; ++r) {
      double sum = 0;
      for (int64_t i = 0; i < width; ++i) sum += static_cast<double>(x[r * stride + i]) * x[r * stride + i];
      const double scale = 1.0 / std::sqrt(sum / static_cast<double>(width) + 1e-5);
      for (int64_t i = 0; i < width; ++i) {
        const double expected = x[r * stride + i] * scale * weight[i];
        ASSERT_NEAR(y[r * stride + i], expected, std::abs(expected) * 2e-6) << "width " << width;
      }
      for (int64_t i = width; i < stride; ++i) ASSERT_EQ(y[r * stride + i], -1.0f);
    }
    std::vector<float> in_place = x;
    RmsNorm(pool, in_place.data(), rows, stride, weight.data(), width, 1e-5f, in_place.data(), stride);
    for (int64_t r = 0; r < rows; ++r) ASSERT_TRUE(SameBits(&in_place[r * stride], &y[r * stride], width));
  }
}

TEST_P(ElementwiseTest, AddRmsNormIsTheAddThenTheNorm) {
  Random random(2);
  ThreadPool pool(2);
  for (const int64_t width : {1, 33, 576}) {
    const int64_t rows = 33;
    const std::vector<float> delta = random.Floats(rows * width), weight = random.Floats(width), start = random.Floats(rows * width);
    std::vector<float> residual = start, y(rows * width), sum(rows * width), expected(rows * width);
    AddRmsNorm(pool, residual.data(), delta.data(), rows, weight.data(), width, 1e-6f, y.data());
    for (int64_t i = 0; i < rows * width; ++i) sum[i] = start[i] + delta[i];
    RmsNorm(pool, sum.data(), rows, width, weight.data(), width, 1e-6f, expected.data(), width);
    EXPECT_EQ(residual, sum);
    EXPECT_TRUE(SameBits(y.data(), expected.data(), rows * width));
  }
}

TEST_P(ElementwiseTest, NanInOneRowStaysThere) {
  ThreadPool pool(1);
  std::vector<float> x(3 * 21, 1.0f), weight(21, 1.0f);
  x[21 + 20] = kNan;
  RmsNorm(pool, x.data(), 3, 21, weight.data(), 21, 1e-5f, x.data(), 21);
  for (int i = 0; i < 63; ++i) EXPECT_EQ(std::isnan(x[i]), i / 21 == 1);
}

TEST_P(ElementwiseTest, SiluMulMatchesDoubleOverTheWholeRange) {
  ThreadPool pool(2);
  std::vector<float> gate, up;
  for (double g = -120; g <= 120; g += 0.0137)
    gate.push_back(static_cast<float>(g)), up.push_back(static_cast<float>(1 + std::fmod(g, 1.7)));
  for (const float tiny : {1e-38f, -1e-38f, 1e-7f, -1e-7f, 0.0f, -0.0f}) gate.push_back(tiny), up.push_back(2.0f);
  const int64_t n = static_cast<int64_t>(gate.size());
  std::vector<float> y(n);
  SiluMul(pool, gate.data(), up.data(), n, y.data());
  for (int64_t i = 0; i < n; ++i) {
    const double expected = Silu(gate[i]) * up[i];
    // Below e^-87 the quotient passes through floats of less precision.
    ASSERT_NEAR(y[i], expected, std::abs(expected) * (gate[i] < -87 ? 1.0 : 1e-6) + 1e-36) << "gate " << gate[i];
  }
}

TEST_P(ElementwiseTest, SiluMulPassesSpecialValuesOn) {
  ThreadPool pool(1);
  const float gate[] = {kNan, kInf, 1.0f, -200.0f, -kInf, 100.0f}, up[] = {1.0f, 1.0f, kNan, 1.0f, 1.0f, kInf};
  float y[6];
  SiluMul(pool, gate, up, 6, y);
  EXPECT_TRUE(std::isnan(y[0]));
  EXPECT_EQ(y[1], kInf);
  EXPECT_TRUE(std::isnan(y[2]));
  EXPECT_EQ(y[3], 0.0f);
  EXPECT_TRUE(std::isnan(y[4]));  // -inf / inf, as in the formula
  EXPECT_EQ(y[5], kInf);
}

TEST_P(ElementwiseTest, AnElementDoesNotDependOnItsPlace) {
  Random random(3);
  ThreadPool one(1), three(3);
  const int64_t n = 50021;
  const std::vector<float> gate = random.Floats(n, 4.0f), up = random.Floats(n);
  std::vector<float> whole(n), pieces(n), threaded(n);
  SiluMul(one, gate.data(), up.data(), n, whole.data());
  SiluMul(three, gate.data(), up.data(), n, threaded.data());
  for (int64_t i = 0; i < n;) {
    const int64_t count = std::min(n - i, random.Between(1, 40));
    SiluMul(one, &gate[i], &up[i], count, &pieces[i]);
    i += count;
  }
  EXPECT_TRUE(SameBits(whole.data(), pieces.data(), n));
  EXPECT_TRUE(SameBits(whole.data(), threaded.data(), n));
}

TEST_P(ElementwiseTest, RopeRotatesTheTwoHalves) {
  Random random(4);
  ThreadPool pool(2);
  for (const int64_t dim : {2, 6, 24, 64, 128}) {
    const int64_t rows = 40, heads = 3, stride = heads * dim + 5, half = dim / 2;
    const std::vector<float> before = random.Floats(rows * stride);
    std::vector<float> x = before, cos(100 * half), sin(100 * half);
    for (int64_t i = 0; i < 100 * half; ++i) cos[i] = std::cos(static_cast<float>(i)), sin[i] = std::sin(static_cast<float>(i));
    std::vector<int32_t> positions(rows);
    for (int32_t& p : positions) p = static_cast<int32_t>(random.Between(0, 99));
    Rope(pool, x.data(), rows, stride, heads, dim, positions.data(), cos.data(), sin.data());
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t i = 0; i < half; ++i) {
          const int64_t at = r * stride + h * dim + i, table = positions[r] * half + i;
          const double a = before[at], b = before[at + half];
          ASSERT_NEAR(x[at], a * cos[table] - b * sin[table], 1e-6);
          ASSERT_NEAR(x[at + half], b * cos[table] + a * sin[table], 1e-6);
        }
      }
      for (int64_t i = heads * dim; i < stride; ++i) ASSERT_EQ(x[r * stride + i], before[r * stride + i]);
    }
  }
}

TEST_P(ElementwiseTest, RowStatsMatchDouble) {
  Random random(5);
  for (const int64_t n : {1, 2, 15, 16, 17, 100, 1000, 49152, 49157}) {
    const std::vector<float> logits = random.Floats(n, 8.0f);
    const LogSoftmaxStats stats = RowStats(logits.data(), n);
    int64_t best = 0;
    for (int64_t i = 1; i < n; ++i) best = logits[i] > logits[best] ? i : best;
    double sum = 0;
    for (const float v : logits) sum += std::exp(static_cast<double>(v) - logits[best]);
    EXPECT_EQ(stats.argmax, best);
    EXPECT_EQ(stats.max, logits[best]);
    EXPECT_TRUE(stats.finite);
    EXPECT_NEAR(stats.log_sum_exp, logits[best] + std::log(sum), 1e-5 * (1 + std::abs(logits[best])));
  }
}

TEST_P(ElementwiseTest, RowStatsBreakTiesByTheLowestIndex) {
  std::vector<float> logits(100, -1.0f);
  logits[97] = logits[33] = logits[70] = 5.0f;
  EXPECT_EQ(RowStats(logits.data(), 100).argmax, 33);
  logits.assign(100, 0.0f);
  EXPECT_EQ(RowStats(logits.data(), 100).argmax, 0);
}

TEST_P(ElementwiseTest, RowStatsReportWhatIsNotFinite) {
  for (const int64_t at : {0, 20, 36}) {
    std::vector<float> logits(37, 1.0f);
    logits[at] = kNan;
    EXPECT_FALSE(RowStats(logits.data(), 37).finite);
    EXPECT_TRUE(std::isnan(RowStats(logits.data(), 37).log_sum_exp));
    logits[at] = kInf;
    EXPECT_FALSE(RowStats(logits.data(), 37).finite);
    EXPECT_EQ(RowStats(logits.data(), 37).log_sum_exp, kInf);
    EXPECT_EQ(RowStats(logits.data(), 37).argmax, at);
    logits[at] = -kInf;
    const LogSoftmaxStats banned = RowStats(logits.data(), 37);
    EXPECT_FALSE(banned.finite);
    EXPECT_NEAR(banned.log_sum_exp, 1.0 + std::log(36.0), 1e-5);
    logits[at] = kInf;
    logits[(at + 1) % 37] = kNan;
    EXPECT_TRUE(std::isnan(RowStats(logits.data(), 37).log_sum_exp));
  }
}

TEST_P(ElementwiseTest, RowStatsOfNothing) {
  const LogSoftmaxStats stats = RowStats(nullptr, 0);
  EXPECT_EQ(stats.log_sum_exp, -kInf);
  EXPECT_TRUE(stats.finite);
}

TEST_P(ElementwiseTest, ConversionRoundsToNearestEvenAndKeepsNan) {
  const uint32_t in[] = {0x3f800000, 0x3f808000, 0x3f818000, 0x3f808001, 0x7f7fffff, 0x7f800000, 0xff800000, 0x7f800001, 0xffffffff,
                         0x00000001, 0x80000000, 0x00018000, 0x3f807fff, 0x7fc00000, 0xff80ffff, 0x0000ffff, 0x42280000};
  const bf16 expected[] = {0x3f80, 0x3f80, 0x3f82, 0x3f81, 0x7f80, 0x7f80, 0xff80, 0x7fc0, 0xffff,
                           0x0000, 0x8000, 0x0002, 0x3f80, 0x7fc0, 0xffc0, 0x0001, 0x4228};
  constexpr int64_t kN = 17;
  bf16 out[kN];
  F32ToBf16(reinterpret_cast<const float*>(in), kN, out);
  EXPECT_THAT(out, testing::ElementsAreArray(expected));
  float wide[kN];
  Bf16ToF32(out, kN, wide);
  for (int64_t i = 0; i < kN; ++i) EXPECT_EQ(__builtin_bit_cast(uint32_t, wide[i]), static_cast<uint32_t>(out[i]) << 16);
}

TEST_P(ElementwiseTest, ZeroElementsAreAllowed) {
  ThreadPool pool(2);
  float nothing = 5.0f;
  SiluMul(pool, &nothing, &nothing, 0, &nothing);
  RmsNorm(pool, &nothing, 0, 4, &nothing, 4, 1e-5f, &nothing, 4);
  AddRmsNorm(pool, &nothing, &nothing, 0, &nothing, 4, 1e-5f, &nothing);
  Rope(pool, &nothing, 0, 4, 1, 4, nullptr, &nothing, &nothing);
  F32ToBf16(&nothing, 0, nullptr);
  Bf16ToF32(nullptr, 0, &nothing);
  EXPECT_EQ(nothing, 5.0f);
}

}  // namespace
}  // namespace switchyard::kernels
