#include "engine/stats/overlap.h"

#include <gtest/gtest.h>

namespace switchyard {
namespace {

TEST(StatsOverlap, EqualsThePublishedVector) {
  const Overlap overlap = MeanPairwiseOverlap({{0, 1, 2}, {2, 3}, {4}});
  EXPECT_NEAR(overlap.mean.value(), .083333, 5e-7);
  EXPECT_EQ(overlap.pairs, 3);
}

TEST(StatsOverlap, PairsOfEmptySetsAreSkipped) {
  const Overlap overlap = MeanPairwiseOverlap({{0, 1}, {}, {}, {1}});
  EXPECT_EQ(overlap.pairs, 5);
  EXPECT_NEAR(overlap.mean.value(), 0.5 / 5, 1e-12);
  EXPECT_FALSE(MeanPairwiseOverlap({{}, {}}).mean.has_value());
  EXPECT_FALSE(MeanPairwiseOverlap({{1}}).mean.has_value());
}

TEST(StatsOverlap, PositionsNeverOverlapForOneSlotButTheVocabularyMay) {
  const std::vector<int16_t> experts = {0, 1, 0, 2};
  const std::vector<int32_t> tokens = {7, 7, 8, 9};
  const LayerTrace trace{.num_experts = 3, .k = 1, .experts = experts, .weights = {}, .tokens = tokens, .sequences = {}};
  EXPECT_EQ(PositionOverlap(trace).mean, 0);
  EXPECT_NEAR(VocabularyOverlap(trace).mean.value(), (0.5 + 0 + 0) / 3, 1e-12);  // {7, 8}, {7}, {9}
}

TEST(StatsOverlap, PositionsOfTwoSlots) {
  const std::vector<int16_t> experts = {0, 1, 1, 0, 0, 2};
  const LayerTrace trace{.num_experts = 3, .k = 2, .experts = experts, .weights = {}, .tokens = {}, .sequences = {}};
  EXPECT_NEAR(PositionOverlap(trace).mean.value(), (2.0 / 3 + 1.0 / 3 + 0) / 3, 1e-12);  // {0,1,2}, {0,1}, {2}
}

TEST(StatsOverlap, ChanceDependsOnExpertsAndSlots) {
  EXPECT_NEAR(ChancePositionOverlap(8, 2).value(), .0769, 5e-5);
  EXPECT_EQ(ChancePositionOverlap(8, 1), 0);
  EXPECT_EQ(ChancePositionOverlap(3, 3), 1);
  EXPECT_FALSE(ChancePositionOverlap(1, 1).has_value());
  EXPECT_FALSE(ChancePositionOverlap(4, 5).has_value());
}

}  // namespace
}  // namespace switchyard
