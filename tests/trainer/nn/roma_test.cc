// RoMA's regulariser (2511.07419) against PyTorch. What must not happen again is the published code's mistake: routes recorded on both sides,
// and no gradient.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/trainer/nn/loss_goldens.h"
#include "trainer/nn/router_module.h"

namespace switchyard::trainer {
namespace {

class RomaTest : public ::testing::Test {
 protected:
  RomaTest() {
    for (const float row : Values("roma.rows")) targets_.neighbours.rows.push_back(static_cast<int64_t>(row));
    targets_.neighbours.weights = golden_["roma.weights"];
    for (int l = 0; l < 2; ++l) targets_.neighbours.routes.push_back(golden_["roma.routes." + std::to_string(l)]);
  }
  std::vector<float> Values(const std::string& name) const {
    const at::Tensor t = golden_[name];
    return {t.const_data_ptr<float>(), t.const_data_ptr<float>() + t.numel()};
  }
  std::unique_ptr<RouterModule> Router(double roma, int64_t warmup_steps = 0) const {
    auto router = NewRouter({.kind = "linear", .roma = roma, .roma_warmup_steps = warmup_steps, .compute = at::kFloat}, 2, 6, 4, 1);
    EXPECT_TRUE(router.ok()) << router.status();
    for (int l = 0; l < 2; ++l) (*router)->LayerParameters(l)[0].value.detach().copy_(golden_["roma.weight." + std::to_string(l)]);
    return *std::move(router);
  }
  RouterOutput Route(const RouterModule& router, int layer) const {
    auto out = router.Forward(layer, golden_["roma.x." + std::to_string(layer)], nullptr, targets_);
    EXPECT_TRUE(out.ok()) << out.status();
    return *std::move(out);
  }

  const LossGoldens golden_;
  RowTargets targets_;
};

TEST_F(RomaTest, LossAndGradientArePyTorchsAndNotZero) {
  const auto router = Router(.8);
  double loss = 0;
  for (int l = 0; l < 2; ++l) {
    const RouterOutput out = Route(*router, l);
    loss += out.parts[kRomaLoss];
    out.loss.backward();
    const at::Tensor grad = router->LayerParameters(l)[0].value.grad();
    EXPECT_GT(grad.abs().max().item<double>(), 1e-3);
    ExpectGolden(grad, .8 * golden_["roma.grad." + std::to_string(l)], std::to_string(l));
  }
  EXPECT_NEAR(loss, .8 * golden_["roma.loss"].item<double>(), 1e-5);
}

// Following it brings the routes to their neighbours'.
TEST_F(RomaTest, AStepAlongItBringsRoutesNearer) {
  const auto router = Router(1);
  const double before = Route(*router, 0).parts[kRomaLoss];
  for (int step = 0; step < 50; ++step) {
    Route(*router, 0).loss.backward();
    at::Tensor weight = router->LayerParameters(0)[0].value;
    weight.detach().sub_(weight.grad(), .5);
    weight.grad().zero_();
  }
  EXPECT_LT(Route(*router, 0).parts[kRomaLoss], .7 * before);
}

TEST_F(RomaTest, LayersThatAreLeftAloneAndRowsWithoutNeighboursHaveNone) {
  targets_.neighbours.routes[0] = at::Tensor();
  const auto router = Router(1);
  EXPECT_FALSE(Route(*router, 0).loss.defined());
  EXPECT_TRUE(Route(*router, 1).loss.defined());
  targets_ = {};
  EXPECT_FALSE(Route(*router, 1).loss.defined());
}

TEST_F(RomaTest, RisesOverTheWarmUp) {
  const auto router = Router(1, 4);
  const double whole = golden_["roma.loss"].item<double>();
  for (const auto& [step, part] : {std::pair{0, .25}, std::pair{1, .5}, std::pair{3, 1.}, std::pair{9, 1.}}) {
    router->BeforeStep(step);
    EXPECT_NEAR(Route(*router, 0).parts[kRomaLoss] + Route(*router, 1).parts[kRomaLoss], part * whole, 1e-5) << step;
  }
}

}  // namespace
}  // namespace switchyard::trainer
