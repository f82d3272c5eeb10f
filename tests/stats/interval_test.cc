#include "engine/stats/interval.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace switchyard {
namespace {

TEST(StatsInterval, EqualsTextbookValues) {
  const auto half = WilsonInterval95(50, 100).value();
  EXPECT_NEAR(half.low, 0.403832, 1e-6);
  EXPECT_NEAR(half.high, 0.596168, 1e-6);
  const auto none = WilsonInterval95(0, 10).value();
  EXPECT_NEAR(none.low, 0, 1e-12);
  EXPECT_NEAR(none.high, 0.277533, 1e-6);
  const auto all = WilsonInterval95(10, 10).value();
  EXPECT_NEAR(all.low, 0.722467, 1e-6);
  EXPECT_NEAR(all.high, 1, 1e-12);
}

TEST(StatsInterval, ShrinksWithMoreTrials) {
  const auto few = WilsonInterval95(3, 10).value();
  const auto many = WilsonInterval95(300, 1000).value();
  EXPECT_LT(many.high - many.low, few.high - few.low);
}

TEST(StatsInterval, AbsentForImpossibleInput) {
  EXPECT_FALSE(WilsonInterval95(0, 0).has_value());
  EXPECT_FALSE(WilsonInterval95(-1, 5).has_value());
  EXPECT_FALSE(WilsonInterval95(6, 5).has_value());
}

TEST(StatsInterval, RepetitionsUseStudentsT) {
  const auto three = MeanOfRepetitions(std::vector<double>{1, 2, 3}).value();
  EXPECT_NEAR(three.mean, 2, 1e-12);
  EXPECT_NEAR(three.half_width.value(), 4.302653 / std::sqrt(3.0), 1e-6);
  EXPECT_EQ(three.count, 3);
  EXPECT_FALSE(MeanOfRepetitions(std::vector<double>{5}).value().half_width.has_value());
  EXPECT_FALSE(MeanOfRepetitions({}).has_value());
  EXPECT_NEAR(MeanOfRepetitions(std::vector<double>(40, 2.5)).value().half_width.value(), 0, 1e-12);
}

TEST(StatsInterval, MeanOfProportionsWeighsEachAlike) {
  const std::vector<Proportion> cells = {{50, 100}, {1, 4}};
  const auto mean = MeanOfProportions(cells).value();
  EXPECT_NEAR(mean.mean, 0.375, 1e-12);
  EXPECT_NEAR(mean.half_width.value(), 1.959964 * std::sqrt(0.25 / 100 + 0.1875 / 4) / 2, 1e-6);
  EXPECT_FALSE(MeanOfProportions(std::vector<Proportion>{{1, 2}, {0, 0}}).has_value());
  EXPECT_FALSE(MeanOfProportions({}).has_value());
  EXPECT_NEAR(HalfWidth95({50, 100}).value(), (0.596168 - 0.403832) / 2, 1e-6);
  EXPECT_FALSE(HalfWidth95({0, 0}).has_value());
}

}  // namespace
}  // namespace switchyard
