#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "trainer/nn/router_module.h"
#include "trainer/nn/tensor_views.h"

namespace switchyard::trainer {
namespace {

// One layer, two ids, three experts; the affinities are x itself.
std::unique_ptr<RouterModule> Frozen(const std::vector<int32_t>& table) {
  const RouterOptions options{.kind = "stablemoe", .gate = "sigmoid", .compute = at::kFloat};
  std::vector<std::vector<Parameter>> layers = {{MakeParameter("layers.0.router.weight", at::eye(3), true)}};
  layers[0][0].value.requires_grad_(true);
  return MakeStableMoe(options, std::move(layers), {at::tensor(table, at::kInt)});
}

TEST(StableMoeTest, TheTableChoosesAndTheAffinitySpeaks) {
  const auto router = Frozen({2, 0});
  const at::Tensor x = at::tensor({5.f, 1.f, -1.f, 2.f, 9.f, 9.f}).view({2, 3});
  const std::vector<int32_t> tokens = {0, 1};
  const auto out = router->Forward(0, {x, tokens}, nullptr);
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_THAT(out->routes.experts, ::testing::ElementsAre(2, 0));
  const at::Tensor want = at::tensor({0.f, 0.f, .268941f, .880797f, 0.f, 0.f}).view({2, 3});
  EXPECT_TRUE(at::allclose(out->gates, want, 0, 1e-5)) << out->gates;
  EXPECT_NEAR(out->routes.weights[0], .268941, 1e-5);
  // Only the affinity with the chosen expert learns.
  out->gates.sum().backward();
  const at::Tensor grad = router->Parameters()[0].value.grad();
  ASSERT_TRUE(grad.isfinite().all().item<bool>()) << grad;
  EXPECT_EQ(grad[1].abs().sum().item<float>(), 0);
  EXPECT_TRUE(at::allclose(grad[2], x[0] * (.268941 * .731059), 0, 1e-4)) << grad;
  EXPECT_TRUE(at::allclose(grad[0], x[1] * (.880797 * .119203), 0, 1e-4)) << grad;
}

TEST(StableMoeTest, AnUnknownIdIsAnError) {
  const auto router = Frozen({2, 0});
  const std::vector<int32_t> tokens = {0, 2};
  EXPECT_EQ(router->Forward(0, {at::ones({2, 3}), tokens}, nullptr).status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(router->Forward(0, at::ones({2, 3}), nullptr).status().code(), absl::StatusCode::kInternal);
}

TEST(StableMoeTest, FrozenRoutesAreNotPulledAt) {
  const at::Tensor weight = at::eye(3);
  RouterArtifact first;
  first.manifest.kind = "linear";
  first.manifest.weight_mode = "sigmoid";
  first.manifest.num_layers = 1;
  first.manifest.experts.resize(3);
  first.tensors = SafetensorsFile::Of({ViewOf("layers.0.router.weight", weight)});
  RouterOptions options{.kind = "stablemoe", .gate = "sigmoid", .compute = at::kFloat};
  EXPECT_TRUE(StableMoeFrom(first, options, {{0, 1}}).ok());
  options.label_loss = .1;
  EXPECT_EQ(StableMoeFrom(first, options, {{0, 1}}).status().code(), absl::StatusCode::kInvalidArgument);
  options.label_loss = 0;
  options.dispatch.rule = "max-score";
  EXPECT_EQ(StableMoeFrom(first, options, {{0, 1}}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(StableMoeTest, IsNotDrawnAtRandom) {
  EXPECT_THAT(std::string(Message(NewRouter({.kind = "stablemoe", .gate = "sigmoid"}, 1, 3, 3, 1).status())),
              ::testing::HasSubstr("--init"));
}

}  // namespace
}  // namespace switchyard::trainer
