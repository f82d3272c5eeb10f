// The routers' own losses against values worked out by hand.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "trainer/nn/router_module.h"

namespace switchyard::trainer {
namespace {

// Loss of a linear router whose weight is the identity, so that x are the logits.
double LossOf(RouterOptions options, const std::vector<float>& logits, int64_t experts) {
  options.kind = "linear";
  options.compute = at::kFloat;
  const auto router = NewRouter(options, /*layers=*/1, static_cast<int32_t>(experts), static_cast<int32_t>(experts), /*seed=*/1);
  EXPECT_TRUE(router.ok()) << router.status();
  (*router)->LayerParameters(0)[0].value.detach().copy_(at::eye(experts));
  const at::Tensor x = at::tensor(logits).view({-1, experts});
  const auto out = (*router)->Forward(0, x, nullptr);
  EXPECT_TRUE(out.ok()) << out.status();
  return out->loss.item<double>();
}

// Softmax of their logarithms gives the probabilities back; the 0 becomes e^-60.
std::vector<float> Logits() {
  std::vector<float> logits;
  for (const double p : {.7, .2, .1, 0., .1, .6, .2, .1, .25, .26, .29, .2, .4, .1, .05, .45}) {
    logits.push_back(p > 0 ? static_cast<float>(std::log(p)) : -60.0f);
  }
  return logits;
}

TEST(RouterLoss, BalanceIsExpertsTimesLoadTimesShare) {
  EXPECT_NEAR(LossOf({.top_k = 1, .gate = "ste", .balance = 1}, Logits(), 4), 1.0, 1e-5);
  EXPECT_NEAR(LossOf({.top_k = 2, .gate = "raw", .balance = 1}, Logits(), 4), 2.1025, 1e-5);
  EXPECT_NEAR(LossOf({.top_k = 2, .gate = "renorm", .balance = 1}, Logits(), 4), 2.228884, 1e-5);
}

// Three rows choose expert 0, one chooses 1: (3 / 1 - 1) and (1 / 1 - 1) of four experts, the others -1 times nothing.
TEST(RouterLoss, StableMoesBalanceWeighsGatesByLoad) {
  const std::vector<float> logits = {2, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 0, 1, 0, 0};
  const auto sigmoid = [](double value) { return 1 / (1 + std::exp(-value)); };
  EXPECT_NEAR(LossOf({.top_k = 1, .gate = "sigmoid", .balance = 1}, logits, 4), 2 * (sigmoid(2) + sigmoid(1) + sigmoid(3)) / 4, 1e-5);
}

TEST(RouterLoss, ZIsTheMeanSquareOfLogSumExp) {
  EXPECT_NEAR(LossOf({.top_k = 1, .gate = "ste", .z_loss = 1}, {2, 1, 0, 0}, 2), 2.915816, 1e-5);
}

}  // namespace
}  // namespace switchyard::trainer
