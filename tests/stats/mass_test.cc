#include "engine/stats/mass.h"

#include <gtest/gtest.h>

namespace switchyard {
namespace {

TEST(StatsMass, SharesAreOfTheWeightGiven) {
  const std::vector<int16_t> experts = {0, 2, 1, -1};
  const std::vector<float> weights = {0.5f, 0.25f, 0.25f, 0};
  const LayerTrace trace{.num_experts = 3, .k = 2, .experts = experts, .weights = weights, .tokens = {}, .sequences = {}};
  EXPECT_EQ(MassShare(trace), (std::vector<double>{0.5, 0.25, 0.25}));
}

TEST(StatsMass, TheBaseSpeaksForZeroAndForMissingWeight) {
  const std::vector<int16_t> experts = {0, 2, 1, -1};
  const std::vector<float> weights = {0.5f, 0.25f, 0.25f, 0};
  const LayerTrace trace{.num_experts = 3, .k = 2, .experts = experts, .weights = weights, .tokens = {}, .sequences = {}};
  EXPECT_NEAR(BaseMass(trace, -1).value(), 1 - 1.0 / 2, 1e-12);
  EXPECT_NEAR(BaseMass(trace, 2).value(), 1 - 0.75 / 2, 1e-12);
}

TEST(StatsMass, AbsentWithoutTokensOrWeight) {
  EXPECT_FALSE(BaseMass({.num_experts = 3, .k = 2, .experts = {}, .weights = {}, .tokens = {}, .sequences = {}}, 2).has_value());
  const std::vector<int16_t> experts = {-1};
  const std::vector<float> weights = {0};
  EXPECT_TRUE(MassShare({.num_experts = 3, .k = 1, .experts = experts, .weights = weights, .tokens = {}, .sequences = {}}).empty());
}

}  // namespace
}  // namespace switchyard
