#include "engine/stats/over_layers.h"

#include <gtest/gtest.h>

#include <vector>

namespace switchyard {
namespace {

using Layers = std::vector<std::optional<double>>;

TEST(StatsOverLayers, MeansSkipUndefinedLayers) {
  EXPECT_EQ(MeanOverLayers(Layers{1.0, std::nullopt, 3.0}), 2.0);
  EXPECT_EQ(MaxOverLayers(Layers{1.0, std::nullopt, 3.0}), 3.0);
  EXPECT_EQ(MaxOverLayers(Layers{-1.0}), -1.0);
  EXPECT_EQ(MeanOverLayers(Layers{std::nullopt}), std::nullopt);
  EXPECT_EQ(MaxOverLayers(Layers{}), std::nullopt);
}

TEST(StatsOverLayers, TheMiddleLayerIsInNeitherHalf) {
  EXPECT_EQ(EarlyLateRatio(Layers{1.0, 100.0, 2.0}), 0.5);
  EXPECT_EQ(EarlyLateRatio(Layers{1.0, 3.0, 1.0, 1.0}), 2.0);
  EXPECT_EQ(EarlyLateRatio(Layers{0.4}), 1.0);
  EXPECT_EQ(EarlyLateRatio(Layers{1.0, 0.0}), std::nullopt);
  EXPECT_EQ(EarlyLateRatio(Layers{}), std::nullopt);
}

}  // namespace
}  // namespace switchyard
