#include "trainer/run/adamw.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/optim/adamw.h>

#include <limits>

namespace switchyard::trainer {
namespace {

TEST(AdamWTest, EqualsLibTorchs) {
  at::manual_seed(3);
  const at::Tensor start = at::randn({5, 7});
  Parameter ours = MakeParameter("w", start, /*decay=*/true);
  AdamWOptions options;
  options.weight_decay = 0.1;
  options.clip = 0;
  AdamW optimizer({ours}, options);
  at::Tensor theirs = start.clone().requires_grad_(true);
  torch::optim::AdamW reference({theirs}, torch::optim::AdamWOptions(1e-2).betas({0.9, 0.98}).eps(1e-8).weight_decay(0.1));
  for (int step = 0; step < 20; ++step) {
    const at::Tensor grad = at::randn({5, 7});
    ours.grad.copy_(grad);
    optimizer.Step(1e-2);
    theirs.mutable_grad() = grad.clone();
    reference.step();
  }
  EXPECT_TRUE(at::allclose(ours.value, theirs.detach(), 1e-5, 1e-6));
  EXPECT_FALSE(at::allclose(ours.value, start, 1e-2, 1e-2));
}

TEST(AdamWTest, ClipsByTheGlobalNormAndLeavesBiasesUndecayed) {
  Parameter weight = MakeParameter("w", at::ones({2}), true), bias = MakeParameter("b", at::ones({2}), false);
  AdamWOptions options;
  options.weight_decay = 0.5;
  AdamW optimizer({weight, bias}, options);
  weight.grad.fill_(30);
  bias.grad.fill_(40);
  EXPECT_NEAR(optimizer.Step(0.0), std::sqrt(2 * 900.0 + 2 * 1600.0), 1e-3);
  EXPECT_NEAR(at::cat({weight.grad, bias.grad}).norm().item<double>(), 1.0, 1e-5);
  weight.grad.zero_();
  bias.grad.zero_();
  AdamW still({weight, bias}, options);
  still.Step(0.1);
  EXPECT_NEAR(weight.value[0].item<double>(), 0.95, 1e-6);
  EXPECT_EQ(bias.value[0].item<double>(), 1.0);
}

TEST(AdamWTest, AGradientThatIsNotFiniteChangesNothing) {
  Parameter weight = MakeParameter("w", at::ones({2}), true);
  AdamW optimizer({weight}, {});
  weight.grad.fill_(std::numeric_limits<float>::infinity());
  EXPECT_FALSE(std::isfinite(optimizer.Step(0.1)));
  EXPECT_TRUE(at::equal(weight.value, at::ones({2})));
  EXPECT_EQ(optimizer.steps(), 0);
}

// After a large gradient's moments are forgotten, a small one moves its parameter as far as on the first step.
TEST(AdamWTest, ResetForgetsTheMoments) {
  Parameter p = MakeParameter("p", at::zeros({2}), true);
  AdamW optimizer({p}, {.weight_decay = 0, .clip = 0});
  p.grad.fill_(1e-4);
  for (int i = 0; i < 50; ++i) optimizer.Step(0.01);
  optimizer.Reset();
  EXPECT_EQ(optimizer.steps(), 0);
  const at::Tensor before = p.value.detach().clone();
  p.grad.fill_(3.0);
  optimizer.Step(0.01);
  EXPECT_TRUE(at::allclose(before - p.value.detach(), at::full({2}, 0.01), 1e-4, 0)) << before - p.value.detach();
}

TEST(ScheduleTest, WarmsUpAndGoesDownACosine) {
  const Schedule schedule{1.0, 0.1, 0.2};
  EXPECT_DOUBLE_EQ(schedule.At(0, 100), 0.1);
  EXPECT_DOUBLE_EQ(schedule.At(9, 100), 1.0);
  EXPECT_DOUBLE_EQ(schedule.At(10, 100), 1.0);
  EXPECT_NEAR(schedule.At(55, 100), 0.6, 1e-12);
  EXPECT_NEAR(schedule.At(100, 100), 0.2, 1e-12);
}

}  // namespace
}  // namespace switchyard::trainer
