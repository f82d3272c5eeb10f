// The two losses of "Advancing Expert Specialization" (2505.22323) against PyTorch and against numbers worked out by hand.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/trainer/nn/loss_goldens.h"
#include "trainer/nn/expert_orthogonality.h"
#include "trainer/nn/router_module.h"

namespace switchyard::trainer {
namespace {

// A linear router whose weight is the identity: x are the logits.
RouterOutput Route(RouterOptions options, const at::Tensor& logits) {
  options.kind = "linear";
  options.compute = at::kFloat;
  const auto experts = static_cast<int32_t>(logits.size(1));
  const auto router = NewRouter(options, /*layers=*/1, experts, experts, /*seed=*/1);
  EXPECT_TRUE(router.ok()) << router.status();
  (*router)->LayerParameters(0)[0].value.detach().copy_(at::eye(experts));
  auto out = (*router)->Forward(0, logits, nullptr);
  EXPECT_TRUE(out.ok()) << out.status();
  return *std::move(out);
}

TEST(ScoreVarianceTest, IsPyTorchs) {
  const LossGoldens golden;
  for (const auto& [gate, k] : {std::pair{"ste", 1}, std::pair{"renorm", 2}}) {
    const std::string prefix = std::string("variance.") + gate + ".";
    const at::Tensor logits = golden[prefix + "logits"].requires_grad_(true);
    const RouterOutput out = Route({.top_k = k, .gate = gate, .score_variance = .5}, logits);
    EXPECT_NEAR(out.loss.item<double>(), .5 * golden[prefix + "loss"].item<double>(), 1e-6);
    EXPECT_EQ(out.parts[kScoreVarianceLoss], out.loss.item<double>());
    out.loss.backward();
    ExpectGolden(logits.grad(), .5 * golden[prefix + "grad"], gate);
  }
}

// Scores (.7, .3, 0) and (0, .4, .6): the sum over rows of squares over n = 3 is .143333; over two rows a mean.
TEST(ScoreVarianceTest, ByHand) {
  const at::Tensor scores = at::tensor({.7f, .3f, 0.f, 0.f, .4f, .6f}).view({2, 3});
  const RouterOutput out = Route({.top_k = 2, .gate = "renorm", .score_variance = 1}, scores.clamp_min(1e-20).log());
  EXPECT_NEAR(out.loss.item<double>(), -.143333 / 2, 1e-6);
}

// Outputs (1, 0) and (1, 1) of one row: half of the first lies along the second, (1, 0) of the second along the first.
TEST(OrthogonalityTest, ByHand) {
  const at::Tensor first = at::tensor({9.f, 9.f, 1.f, 0.f}).view({2, 2}), second = at::tensor({1.f, 1.f}).view({1, 2});
  EXPECT_NEAR(OrthogonalityLoss({{{3, 5}, first}, {{5}, second}}).item<double>(), 1.5, 1e-6);
  EXPECT_NEAR(OrthogonalityLoss({{{3, 5}, first}, {{5}, at::tensor({0.f, 2.f}).view({1, 2})}}).item<double>(), 0, 1e-6);
  EXPECT_FALSE(OrthogonalityLoss({{{3}, first.slice(0, 0, 1)}, {{5}, second}}).defined());
}

class OrthogonalityGoldenTest : public ::testing::Test {
 protected:
  OrthogonalityGoldenTest() {
    for (int e = 0; e < 3; ++e) {
      LoraBlock& block = blocks_[e];
      for (const auto& [name, matrix] : {std::pair{"gate", &block.gate}, std::pair{"up", &block.up}, std::pair{"down", &block.down}}) {
        const std::string key = "orthogonality.weight." + std::to_string(e) + "." + name;
        if (!golden_.Has(key + ".a")) continue;
        matrix->emplace(compute_, key, golden_[key + ".a"], golden_[key + ".b"],
                        golden_["orthogonality.scale." + std::to_string(e)].item<float>(), /*trainable=*/true);
        ++matrices_;
      }
    }
    for (LoraBlock& block : blocks_) experts_.push_back(&block);
    const at::Tensor gates = golden_["orthogonality.gates"];
    gates_ = {gates.size(0), 4, {gates.const_data_ptr<float>(), gates.const_data_ptr<float>() + gates.numel()}};
  }

  // The way back of no gradient but the loss's own: its value and dx.
  std::pair<double, at::Tensor> Back(double coefficient) {
    const MixtureBlock block(compute_, golden_["orthogonality.base.gate"], golden_["orthogonality.base.up"],
                             golden_["orthogonality.base.down"]);
    const at::Tensor x = golden_["orthogonality.x"], dy = at::zeros_like(x);
    at::Tensor y = at::empty_like(x), dx = at::empty_like(x);
    MixtureSaved saved;
    block.Forward(x.const_data_ptr<float>(), gates_, experts_, {}, &saved, y.mutable_data_ptr<float>());
    const double loss = block.Backward(x.const_data_ptr<float>(), gates_, experts_, {}, saved, dy.const_data_ptr<float>(),
                                       dx.mutable_data_ptr<float>(), nullptr, coefficient);
    return {loss, dx};
  }

  const LossGoldens golden_;
  kernels::ThreadPool pool_{2};
  TrainCompute compute_{at::kFloat, &pool_};
  LoraBlock blocks_[4];
  std::vector<LoraBlock*> experts_;
  Gates gates_;
  int matrices_ = 0;
};

TEST_F(OrthogonalityGoldenTest, LossAndGradientsArePyTorchs) {
  const auto [loss, dx] = Back(.5);
  EXPECT_NEAR(loss, .5 * golden_["orthogonality.loss"].item<double>(), 1e-4 * loss);
  ExpectGolden(dx, .5 * golden_["orthogonality.grad.x"], "x");
  EXPECT_EQ(matrices_, 8);
  for (int e = 0; e < 3; ++e) {
    for (const auto* matrix : {&blocks_[e].gate, &blocks_[e].up, &blocks_[e].down}) {
      if (!*matrix) continue;
      for (const Parameter* p : {&(*matrix)->a(), &(*matrix)->b()}) {
        const std::string part = p == &(*matrix)->a() ? ".a" : ".b";
        const std::string name = "orthogonality.grad." + std::to_string(e) + "." +
                                 (matrix == &blocks_[e].gate ? "gate"
                                  : matrix == &blocks_[e].up ? "up"
                                                             : "down") +
                                 part;
        ExpectGolden(p->grad, .5 * golden_[name], name);
      }
    }
  }
}

TEST_F(OrthogonalityGoldenTest, OnlyWhereItIsAskedFor) {
  const auto [loss, dx] = Back(0);
  EXPECT_EQ(loss, 0);
  EXPECT_EQ(dx.abs().max().item<double>(), 0);
  EXPECT_EQ(blocks_[0].gate->a().grad.abs().max().item<double>(), 0);
}

}  // namespace
}  // namespace switchyard::trainer
