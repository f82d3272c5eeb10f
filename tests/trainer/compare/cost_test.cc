#include "trainer/compare/cost.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <utility>
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

TEST(CompareCost, ARoutersFlopsAreOfTheValuesATokenMeets) {
  const std::vector<std::byte> bytes(4096);
  std::vector<TensorView> views;
  const auto add = [&](const std::string& name, DType dtype, std::vector<int64_t> shape) {
    size_t size = 4;
    for (const int64_t extent : shape) size *= static_cast<size_t>(extent);
    views.push_back({name, dtype, std::move(shape), {bytes.data(), size}, nullptr});
  };
  const auto flops = [&] {
    RouterArtifact artifact;
    artifact.tensors = SafetensorsFile::Of(std::exchange(views, {}));
    return RouterFlops(artifact);
  };
  add("layers.0.router.weight", DType::kF32, {3, 8});
  add("layers.1.router.weight", DType::kF32, {3, 8});
  add("probe.layers.0.x", DType::kF32, {4, 8});
  EXPECT_DOUBLE_EQ(flops(), 2 * 2 * 3 * 8);
  add("layers.0.router.table", DType::kI32, {50});  // a look-up
  EXPECT_DOUBLE_EQ(flops(), 0);
  add("layers.0.router.directions.0", DType::kF32, {2, 8});
  add("layers.0.router.sample", DType::kF32, {16, 8});  // for experts that join
  add("layers.0.router.temperature", DType::kF32, {1});
  add("layers.0.router.threshold", DType::kF32, {3});
  EXPECT_DOUBLE_EQ(flops(), 2 * 2 * 8);
  // Into 5 dimensions around a centre; two components: a mean away, a square by a precision, a weight each.
  add("layers.0.router.center", DType::kF32, {8});
  add("layers.0.router.projection", DType::kF32, {5, 8});
  add("layers.0.router.mean.0", DType::kF32, {2, 5});
  add("layers.0.router.precision.0", DType::kF32, {2, 5});
  add("layers.0.router.log_weight.0", DType::kF32, {2});
  EXPECT_DOUBLE_EQ(flops(), 2 * 8 + 2 * 5 * 8 + 4 * 2 * 5 + 2 * 2);
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
