#include "engine/stats/interval.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace switchyard
