#include "engine/stats/routing_entropy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace switchyard {
namespace {

constexpr double kTolerance = 5e-7;

// Softmax of (2, 1, 0, -1, .5), as published.
const std::vector<double> kProbabilities = {.563021, .207124, .076197, .028031, .125627};

TEST(StatsRoutingEntropy, EqualsThePublishedVector) {
  std::vector<double> p;
  double sum = 0;
  for (const double logit : {2.0, 1.0, 0.0, -1.0, 0.5}) sum += std::exp(logit);
  for (const double logit : {2.0, 1.0, 0.0, -1.0, 0.5}) p.push_back(std::exp(logit) / sum);
  for (size_t i = 0; i < p.size(); ++i) EXPECT_NEAR(p[i], kProbabilities[i], kTolerance);
  EXPECT_NEAR(RoutingEntropy(p, 5).value(), 1.206489, kTolerance);
  EXPECT_NEAR(NormalisedRoutingEntropy(p, 5).value(), .749634, kTolerance);
}

TEST(StatsRoutingEntropy, OverTheSelectedEqualsThePublishedVector) {
  const std::vector<int16_t> experts = {0, 1};
  const std::vector<float> raw = {.563021f, .207124f};  // renormalised inside: .731059, .268941
  const LayerTrace trace{.num_experts = 5, .k = 2, .experts = experts, .weights = raw, .tokens = {}, .sequences = {}};
  EXPECT_NEAR(SelectedEntropy(trace).value(), .839942, kTolerance);
  EXPECT_NEAR(SelectedEntropy(trace).value() * std::log(2.0), .582203, kTolerance);
}

TEST(StatsRoutingEntropy, IsTheMeanOverTokens) {
  const std::vector<double> p = {1, 0, 0.5, 0.5};
  EXPECT_NEAR(RoutingEntropy(p, 2).value(), std::log(2.0) / 2, 1e-12);
}

TEST(StatsRoutingEntropy, AbsentWhereUndefined) {
  EXPECT_FALSE(RoutingEntropy({}, 4).has_value());
  EXPECT_EQ(RoutingEntropy(std::vector<double>{1, 1}, 1), 0);
  EXPECT_FALSE(NormalisedRoutingEntropy(std::vector<double>{1, 1}, 1).has_value());
  const std::vector<int16_t> experts = {0, 1};
  const std::vector<float> weights = {1, 1};
  const LayerTrace one_slot{.num_experts = 2, .k = 1, .experts = experts, .weights = weights, .tokens = {}, .sequences = {}};
  EXPECT_FALSE(SelectedEntropy(one_slot).has_value());
}

}  // namespace
}  // namespace switchyard
