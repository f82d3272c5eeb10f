// The Latent Prototype Router (2506.21328) as it trains, against PyTorch.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/trainer/nn/loss_goldens.h"
#include "trainer/nn/router_module.h"

namespace switchyard::trainer {
namespace {

class LatentPrototypeTest : public ::testing::Test {
 protected:
  std::unique_ptr<RouterModule> Router(double loss) const {
    RouterOptions options{.kind = "lpr", .top_k = 2, .gate = "renorm", .compute = at::kFloat};
    options.latent = {.dimension = 4, .loss = loss, .kl = .3, .align = .2};
    auto router = NewRouter(options, 1, 6, 3, 1);
    EXPECT_TRUE(router.ok()) << router.status();
    for (Parameter& p : (*router)->Parameters()) p.value.detach().copy_(golden_["lpr.weight." + Short(p)]);
    return *std::move(router);
  }
  static std::string Short(const Parameter& p) { return p.name.substr(std::string("layers.0.router.").size()); }
  static RouterOutput Train(const RouterModule& router, const at::Tensor& x) {
    at::Generator generator = at::detail::createCPUGenerator(9);
    auto out = router.Forward(0, x, &generator);
    EXPECT_TRUE(out.ok()) << out.status();
    return *std::move(out);
  }

  const LossGoldens golden_;
};

TEST_F(LatentPrototypeTest, GatesLossesAndGradientsArePyTorchs) {
  const auto router = Router(.5);
  const at::Tensor x = golden_["lpr.x"].requires_grad_(true);
  const RouterOutput out = Train(*router, x);
  ExpectGolden(out.gates.detach(), golden_["lpr.gates"], "gates");
  EXPECT_NEAR(out.parts[kLatentDiversityLoss], .5 * golden_["lpr.diversity.loss"].item<double>(), 1e-5);
  EXPECT_NEAR(out.parts[kLatentKlLoss], .5 * .3 * golden_["lpr.kl.loss"].item<double>(), 1e-5);
  EXPECT_NEAR(out.parts[kLatentAlignLoss], .5 * .2 * golden_["lpr.align.loss"].item<double>(), 1e-5);
  ((out.gates * golden_["lpr.pull"]).sum() + out.loss).backward();
  ExpectGolden(x.grad(), golden_["lpr.grad.x"], "x");
  ASSERT_EQ(router->Parameters().size(), 7u);
  for (const Parameter& p : router->Parameters()) ExpectGolden(p.value.grad(), golden_["lpr.grad." + Short(p)], p.name);
}

TEST_F(LatentPrototypeTest, EvaluatedItHasNoNoiseAndNoLosses) {
  const auto router = Router(.5);
  const auto out = router->Forward(0, golden_["lpr.x"], nullptr);
  ASSERT_TRUE(out.ok()) << out.status();
  ExpectGolden(out->gates.detach(), golden_["lpr.evaluated"], "gates");
  EXPECT_FALSE(out->loss.defined());
  EXPECT_GT((golden_["lpr.gates"] - golden_["lpr.evaluated"]).abs().max().item<double>(), 1e-2);
}

// In one pass or in two, and with a layer computed twice as recomputing does.
TEST_F(LatentPrototypeTest, KeysMoveToTheMeanOfTheirTokens) {
  for (const int repeats : {1, 2}) {
    const auto router = Router(0);
    for (int i = 0; i < repeats; ++i) {
      EXPECT_FALSE(Train(*router, golden_["lpr.x"]).loss.defined());
    }
    router->AfterStep({});
    ExpectGolden(router->Parameters()[6].value.detach(), golden_["lpr.keys.after"], "keys");
    // The next step begins anew: without rows nothing moves.
    router->AfterStep({});
    ExpectGolden(router->Parameters()[6].value.detach(), golden_["lpr.keys.after"], "keys");
  }
}

TEST_F(LatentPrototypeTest, AKeyWithoutTokensStaysAndIsNotAligned) {
  RouterOptions options{.kind = "lpr", .compute = at::kFloat};
  options.latent.dimension = 2;
  const auto router = NewRouter(options, 1, 6, 3, 1);
  ASSERT_TRUE(router.ok());
  at::Tensor keys = (*router)->Parameters()[6].value.detach();
  keys.copy_(at::tensor({1.f, 0.f, -1.f, 0.f, 0.f, 1.f}).view({3, 2}));
  (*router)->Parameters()[2].value.detach().zero_();  // mean.weight: every latent is mean.bias
  (*router)->Parameters()[3].value.detach().copy_(at::tensor({3.f, .1f}));
  (*router)->Parameters()[4].value.detach().zero_();
  (*router)->Parameters()[5].value.detach().fill_(-60);
  const RouterOutput out = Train(**router, at::randn({5, 6}));
  EXPECT_THAT(out.routes.experts, ::testing::Each(0));
  EXPECT_NEAR(out.parts[kLatentAlignLoss], .01 * .1 * (2 + .1) / 2, 1e-6);
  (*router)->AfterStep({});
  EXPECT_TRUE(at::allclose(keys, at::tensor({1.4f, .02f, -1.f, 0.f, 0.f, 1.f}).view({3, 2}), 0, 1e-5)) << keys;
}

TEST_F(LatentPrototypeTest, OptionsAreChecked) {
  RouterOptions options{.kind = "lpr"};
  options.latent.decay = 1.5;
  EXPECT_THAT(std::string(Message(NewRouter(options, 1, 6, 3, 1).status())), ::testing::HasSubstr("decay from 0 to 1"));
  options.latent = {.dimension = 0};
  EXPECT_EQ(NewRouter(options, 1, 6, 3, 1).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace switchyard::trainer
