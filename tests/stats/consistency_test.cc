#include "engine/stats/consistency.h"

#include <gtest/gtest.h>

#include <vector>

namespace switchyard {
namespace {

LayerTrace TraceOf(const std::vector<int16_t>& experts, int32_t k, const std::vector<int32_t>& sequences = {}) {
  return {.num_experts = 4, .k = k, .experts = experts, .weights = {}, .tokens = {}, .sequences = sequences};
}

TEST(StatsConsistency, EqualsThePublishedVectors) {
  const std::vector<int16_t> top1 = {0, 0, 1, 1, 1, 2, 0};
  EXPECT_NEAR(SequentialConsistency(TraceOf(top1, 1)).value(), .5, 1e-12);
  EXPECT_NEAR(TopKOverlap(TraceOf(top1, 1)).value(), .5, 1e-12);  // the same for one slot
  const std::vector<int16_t> sets = {0, 1, 0, 2, 0, 2, 1, 3};
  EXPECT_NEAR(TopKOverlap(TraceOf(sets, 2)).value(), .444444, 5e-7);
}

TEST(StatsConsistency, PairsNeverCrossSequences) {
  const std::vector<int16_t> top1 = {0, 0, 0, 1};
  const std::vector<int32_t> sequences = {0, 0, 1, 1};
  const LayerTrace trace = TraceOf(top1, 1, sequences);
  EXPECT_NEAR(SequentialConsistency(trace).value(), .5, 1e-12);
  EXPECT_NEAR(TopKOverlap(trace).value(), .5, 1e-12);
}

TEST(StatsConsistency, AbsentWithoutPairs) {
  const std::vector<int16_t> one = {2};
  EXPECT_FALSE(SequentialConsistency(TraceOf(one, 1)).has_value());
  EXPECT_FALSE(TopKOverlap(TraceOf(one, 1)).has_value());
  const std::vector<int16_t> empty_sets = {-1, -1, -1};
  EXPECT_FALSE(TopKOverlap(TraceOf(empty_sets, 1)).has_value());
}

TEST(StatsConsistency, ComparesCheckpointsAsSets) {
  const std::vector<int16_t> a = {0, 1, 2, 3, -1, -1};
  const std::vector<int16_t> b = {1, 0, 2, 1, -1, -1};
  const Agreement agreement = CompareRoutes(TraceOf(a, 2), TraceOf(b, 2));
  EXPECT_NEAR(agreement.same_set.value(), 2.0 / 3, 1e-12);
  EXPECT_NEAR(agreement.same_best.value(), 2.0 / 3, 1e-12);
  EXPECT_NEAR(agreement.mean_jaccard.value(), (1 + 1.0 / 3) / 2, 1e-12);
  const std::vector<int16_t> shorter = {0, 1};
  EXPECT_FALSE(CompareRoutes(TraceOf(a, 2), TraceOf(shorter, 2)).same_set.has_value());
}

TEST(StatsConsistency, ChanceIsTheSumOfSquaredShares) {
  EXPECT_NEAR(ChanceConsistency(std::vector<double>{.5, .25, .25}).value(), .375, 1e-12);
  EXPECT_FALSE(ChanceConsistency({}).has_value());
}

}  // namespace
}  // namespace switchyard
