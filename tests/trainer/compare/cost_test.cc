#include "trainer/compare/cost.h"

#include <gtest/gtest.h>

#include <vector>

namespace switchyard::trainer {
namespace {

TEST(CompareCost, QuantilesAreByNearestRank) {
  std::vector<double> values;
  for (int i = 100; i >= 1; --i) values.push_back(i);
  EXPECT_EQ(QuantilesOf(values).p50, 50);
  EXPECT_EQ(QuantilesOf(values).p99, 99);
  EXPECT_EQ(QuantilesOf({3}).p50, 3);
  EXPECT_EQ(QuantilesOf({3}).p99, 3);
  EXPECT_EQ(QuantilesOf({}).p99, 0);
}

TEST(CompareCost, FlopsAreCountedByHand) {
  ModelConfig config;
  config.hidden_size = 4;
  config.intermediate_size = 6;
  config.num_layers = 2;
  config.num_heads = 2;
  config.num_kv_heads = 1;
  config.head_dim = 3;
  config.vocab_size = 10;
  Contestant contestant;
  contestant.expert_flops = {100, 40, 0};
  contestant.router_flops = 7;
  RouteRecord record;
  record.num_experts = 3;
  record.k = 2;
  record.tokens = {1, 2};
  record.layers = {{.experts = {0, 1, 0, -1}, .weights = {}, .entropy = {}, .probabilities = {}},
                   {.experts = {2, -1, 1, 2}, .weights = {}, .entropy = {}, .probabilities = {}}};
  const Flops flops = CountFlops(config, contestant, record, 5);
  const double q = 4 * 6, kv = 2 * 4 * 3, o = 6 * 4, mlp = 3 * 4 * 6, attention = 2 * 6 * 5;  // multiplications of a layer
  EXPECT_DOUBLE_EQ(flops.base, 2 * (2 * (q + kv + o + mlp) + 2 * attention + 4 * 10));
  EXPECT_DOUBLE_EQ(flops.experts, (100 + 40 + 100 + 40) / 4.0);  // two tokens, two layers; an expert's figure is of all layers
  EXPECT_DOUBLE_EQ(flops.router, 7);
  EXPECT_DOUBLE_EQ(CountFlops(config, contestant, {}, 5).experts, 0);
}

}  // namespace
}  // namespace switchyard::trainer
