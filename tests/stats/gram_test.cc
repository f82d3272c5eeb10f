#include "engine/stats/gram.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace switchyard {
namespace {

constexpr double kTolerance = 5e-7;

void ExpectGram(const std::vector<double>& rows, int32_t dimension, double mean_abs, double orthogonality, double rms, double diversity) {
  const GramFigures figures = ComputeGram(rows, dimension);
  EXPECT_NEAR(figures.mean_abs.value(), mean_abs, kTolerance);
  EXPECT_NEAR(figures.orthogonality.value(), orthogonality, kTolerance);
  EXPECT_NEAR(figures.orthogonality_rms.value(), rms, kTolerance);
  EXPECT_NEAR(figures.diversity.value(), diversity, kTolerance);
}

TEST(StatsGram, EqualsThePublishedVectors) {
  ExpectGram({1, 0, 1, 1, 0, 1}, 2, .471405, .666667, .422650, .528595);
  std::vector<double> identity(16, 0.0);
  for (int i = 0; i < 4; ++i) identity[i * 5] = 1;
  ExpectGram(identity, 4, 0, 1, 1, 1);
  std::vector<double> equal;
  for (int i = 0; i < 8; ++i) equal.insert(equal.end(), {0.3, -2.0, 1.0});
  ExpectGram(equal, 3, 1, .338562, 0, 0);
  const double s = std::sqrt(3.0) / 2;
  ExpectGram({1, 0, -.5, s, -.5, -s}, 2, .5, .711325, .5, 1.5);
}

TEST(StatsGram, ZeroRowsAreDropped) {
  ExpectGram({1, 0, 0, 0, 1, 1, 0, 1}, 2, .471405, .666667, .422650, .528595);
  EXPECT_FALSE(ComputeGram(std::vector<double>(6, 0.0), 2).orthogonality.has_value());
}

TEST(StatsGram, OneRow) {
  const GramFigures figures = ComputeGram(std::vector<double>{3, 4}, 2);
  EXPECT_EQ(figures.orthogonality, 1);
  EXPECT_FALSE(figures.mean_abs.has_value());
  EXPECT_FALSE(figures.orthogonality_rms.has_value());
  EXPECT_FALSE(figures.diversity.has_value());
}

TEST(StatsGram, ProbabilityColumnsAreCentred) {
  EXPECT_EQ(ProbabilityColumns(std::vector<float>{1, 0, .5f, .5f}, 2), (std::vector<double>{.25, -.25, -.25, .25}));
  EXPECT_TRUE(ProbabilityColumns({}, 0).empty());
}

}  // namespace
}  // namespace switchyard
