#include "engine/stats/capacity.h"

#include <gtest/gtest.h>

#include <vector>

#include "engine/stats/ablation.h"

namespace switchyard {
namespace {

// Eight tokens choose 0, 0, 0, 1, 1, 2, 3, 0 under a capacity of two: two of expert 0's tokens are dropped.
TEST(StatsCapacity, EqualsThePublishedVector) {
  const CapacityFigures figures = ComputeCapacity(std::vector<double>{4, 2, 1, 1}, 2);
  EXPECT_NEAR(figures.usage.value(), 6.0 / 8, 1e-12);
  EXPECT_NEAR(figures.drop_rate.value(), 2.0 / 8, 1e-12);
}

TEST(StatsCapacity, AbsentWithoutALimitOrTokens) {
  EXPECT_FALSE(ComputeCapacity(std::vector<double>{4, 2}, 0).usage.has_value());
  EXPECT_FALSE(ComputeCapacity({}, 2).usage.has_value());
  const CapacityFigures idle = ComputeCapacity(std::vector<double>{0, 0}, 2);
  EXPECT_EQ(idle.usage, 0);
  EXPECT_FALSE(idle.drop_rate.has_value());
}

TEST(StatsAblation, IsFullMinusAblated) {
  EXPECT_NEAR(ComputeAblation(0.8, 0.6).absolute.value(), 0.2, 1e-12);
  EXPECT_NEAR(ComputeAblation(0.8, 0.6).relative.value(), 0.25, 1e-12);
  EXPECT_NEAR(ComputeAblation(-2.0, -1.0).relative.value(), -0.5, 1e-12);
  EXPECT_EQ(ComputeAblation(0.0, 1.0).absolute, -1);
  EXPECT_FALSE(ComputeAblation(0.0, 1.0).relative.has_value());
  EXPECT_FALSE(ComputeAblation(std::nullopt, 1.0).absolute.has_value());
  EXPECT_FALSE(ComputeAblation(1.0, std::nullopt).absolute.has_value());
}

}  // namespace
}  // namespace switchyard
