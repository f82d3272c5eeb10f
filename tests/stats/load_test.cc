#include "engine/stats/load.h"

#include <gtest/gtest.h>

#include <cmath>

namespace switchyard {
namespace {

constexpr double kTolerance = 5e-7;  // the published vectors have six decimals

struct Golden {
  std::vector<double> counts;
  double entropy, normalised, cv, cv_sample, gini, min_max, violation, share_deviation, collapse;
};

class StatsLoadGolden : public ::testing::TestWithParam<Golden> {};

TEST_P(StatsLoadGolden, EqualsThePublishedVector) {
  const Golden& golden = GetParam();
  const LoadFigures figures = ComputeLoad(golden.counts);
  EXPECT_NEAR(*figures.entropy, golden.entropy, kTolerance);
  EXPECT_NEAR(*figures.normalised_entropy, golden.normalised, kTolerance);
  EXPECT_NEAR(*figures.cv, golden.cv, kTolerance);
  EXPECT_NEAR(*figures.cv_sample, golden.cv_sample, kTolerance);
  EXPECT_NEAR(*figures.gini, golden.gini, kTolerance);
  EXPECT_NEAR(*figures.min_max, golden.min_max, kTolerance);
  EXPECT_NEAR(*figures.max_violation, golden.violation, kTolerance);
  EXPECT_NEAR(*figures.imbalance, golden.violation + 1, kTolerance);
  EXPECT_NEAR(*figures.max_share_deviation, golden.share_deviation, kTolerance);
  EXPECT_NEAR(*figures.collapse, golden.collapse, kTolerance);
  EXPECT_NEAR(*figures.utilisation, 1 - golden.collapse, kTolerance);
}

INSTANTIATE_TEST_SUITE_P(Published, StatsLoadGolden,
                         ::testing::Values(Golden{{2, 2, 2, 2}, 1.386294, 1, 0, 0, 0, 1, 0, 0, 0},
                                           Golden{{4, 2, 1, 1}, 1.213008, .875, .612372, .707107, .3125, .25, 1, .25, 0},
                                           Golden{{8, 0, 0, 0}, 0, 0, 1.732051, 2, .75, 0, 3, .75, .75},
                                           Golden{{5, 0, 3, 0, 0}, .661563, .411052, 1.286954, 1.438858, .65, 0, 2.125, .425, .6}));

TEST(StatsLoad, ViolationsDifferWhereTheEmptiestExpertDeviatesMost) {
  const LoadFigures figures = ComputeLoad(std::vector<double>{3, 3, 3, 0});
  EXPECT_NEAR(*figures.max_violation, 1.0 / 3, kTolerance);
  EXPECT_NEAR(*figures.max_violation_absolute, 2.25, kTolerance);
  EXPECT_NEAR(*figures.max_violation_normalised, 1, kTolerance);
  EXPECT_NEAR(*ComputeLoad(std::vector<double>{6, 1, 1}).max_violation, 1.25, kTolerance);
}

TEST(StatsLoad, NothingCountedIsAbsent) {
  for (const std::vector<double>& counts : {std::vector<double>{}, std::vector<double>{0, 0, 0}}) {
    const LoadFigures figures = ComputeLoad(counts);
    EXPECT_TRUE(figures.share.empty());
    for (const auto& figure : {figures.entropy, figures.normalised_entropy, figures.cv, figures.cv_sample, figures.gini, figures.min_max,
                               figures.collapse, figures.utilisation, figures.imbalance, figures.max_violation,
                               figures.max_violation_absolute, figures.max_violation_normalised, figures.max_share_deviation}) {
      EXPECT_FALSE(figure.has_value());
    }
  }
}

TEST(StatsLoad, OneExpert) {
  const LoadFigures figures = ComputeLoad(std::vector<double>{7});
  EXPECT_EQ(figures.entropy, 0);
  EXPECT_EQ(figures.normalised_entropy, std::nullopt);
  EXPECT_EQ(figures.cv, 0);
  EXPECT_EQ(figures.cv_sample, std::nullopt);
  EXPECT_EQ(figures.gini, 0);
  EXPECT_EQ(figures.min_max, 1);
  EXPECT_EQ(figures.collapse, 0);
  EXPECT_EQ(figures.imbalance, 1);
  EXPECT_EQ(figures.max_violation, 0);
}

TEST(StatsLoad, CountsAndDropsExperts) {
  const std::vector<int16_t> experts = {0, 2, 2, -1, 1, 2};
  const LayerTrace trace{.num_experts = 4, .k = 2, .experts = experts, .weights = {}, .tokens = {}, .sequences = {}};
  EXPECT_EQ(CountSelections(trace), (std::vector<double>{1, 1, 3, 0}));
  EXPECT_EQ(WithoutExpert(CountSelections(trace), 2), (std::vector<double>{1, 1, 0}));
  EXPECT_EQ(WithoutExpert(CountSelections(trace), 9), (std::vector<double>{1, 1, 3, 0}));
}

TEST(StatsLoad, CollapseMayCountTheNearlyIdle) {
  const std::vector<double> counts = {97, 2, 1, 0};
  EXPECT_NEAR(*CollapseBelow(counts, 0), 0.25, kTolerance);
  EXPECT_NEAR(*CollapseBelow(counts, 0.05), 0.5, kTolerance);  // below 1.25
  EXPECT_FALSE(CollapseBelow(std::vector<double>{0, 0}, 0).has_value());
}

TEST(StatsLoad, BatchViolationIsTheMeanOverWholeBatches) {
  const std::vector<int16_t> experts = {0, 0, 1, 1, 0, 1, 0};
  const LayerTrace trace{.num_experts = 2, .k = 1, .experts = experts, .weights = {}, .tokens = {}, .sequences = {}};
  EXPECT_NEAR(*BatchMaxViolation(trace, 2), (1.0 + 1 + 0) / 3, kTolerance);  // the seventh token is half a batch
  EXPECT_NEAR(*BatchMaxViolation(trace, 100), *ComputeLoad(CountSelections(trace)).max_violation, kTolerance);
  EXPECT_FALSE(BatchMaxViolation(trace, 0).has_value());
  EXPECT_FALSE(BatchMaxViolation({.num_experts = 2, .k = 1, .experts = {}, .weights = {}, .tokens = {}, .sequences = {}}, 2).has_value());
}

}  // namespace
}  // namespace switchyard
