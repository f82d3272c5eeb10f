#include "engine/stats/expression.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace switchyard {
namespace {

TEST(StatsExpression, AlignmentIsTheMeanCosineOfTheExpertsMeans) {
  const std::vector<double> expressions = {1, 0, 0, 2, 1, 1};
  const std::vector<double> routing = {3, 0, 0, -1, 1, 0};
  EXPECT_NEAR(ExpressionAlignment(expressions, routing, 2).value(), (1 - 1 + std::sqrt(0.5)) / 3, 1e-12);
}

TEST(StatsExpression, ExpertsWithoutADirectionAreSkipped) {
  EXPECT_NEAR(ExpressionAlignment(std::vector<double>{0, 0, 1, 0}, std::vector<double>{1, 0, 1, 0}, 2).value(), 1, 1e-12);
  EXPECT_FALSE(ExpressionAlignment(std::vector<double>{0, 0}, std::vector<double>{1, 0}, 2).has_value());
  EXPECT_FALSE(ExpressionAlignment(std::vector<double>{1, 0}, std::vector<double>{1, 0, 0, 1}, 2).has_value());
  EXPECT_FALSE(ExpressionAlignment({}, {}, 2).has_value());
}

TEST(StatsExpression, OrthogonalityIsAbsentForASharedVector) {
  const std::vector<double> rows = {1, 0, 1, 1, 0, 1};
  EXPECT_NEAR(ExpressionOrthogonality(rows, 2, /*shared=*/false).value(), .666667, 5e-7);
  EXPECT_FALSE(ExpressionOrthogonality(rows, 2, /*shared=*/true).has_value());
  EXPECT_FALSE(ExpressionOrthogonality({}, 2, /*shared=*/false).has_value());
}

}  // namespace
}  // namespace switchyard
