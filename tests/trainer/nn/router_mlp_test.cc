// The router's two layers as one node against the same formula on LibTorch's autograd.
#include "trainer/nn/router_mlp.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <array>
#include <cmath>
#include <vector>

namespace switchyard::trainer {
namespace {

struct Inputs {
  explicit Inputs(int64_t rows, int64_t width, int64_t units, int64_t experts) {
    at::manual_seed(7);
    x = Leaf(at::randn({rows, width}));
    weights = {Leaf(at::randn({units, width}) * .3), Leaf(at::randn({units}) * .3), Leaf(at::randn({experts, units})),
               Leaf(at::randn({experts}))};
  }
  static at::Tensor Leaf(const at::Tensor& t) { return t.detach().requires_grad_(true); }
  std::vector<at::Tensor> All() const { return {x, weights.w1, weights.b1, weights.w2, weights.b2}; }
  at::Tensor Hidden(at::ScalarType compute) const {
    return at::relu(at::matmul(x.to(compute), weights.w1.to(compute).t()).to(at::kFloat) + weights.b1);
  }
  at::Tensor Formula(const at::Tensor& hidden) const { return at::matmul(hidden, weights.w2.t()) + weights.b2; }

  at::Tensor x;
  RouterMlpWeights weights;
};

void ExpectSameGradients(const at::Tensor& got, const at::Tensor& want, const Inputs& in, double tolerance) {
  EXPECT_TRUE(at::allclose(got, want, tolerance, tolerance)) << (got - want).abs().max();
  const at::Tensor seed = at::randn_like(want);
  const auto a = torch::autograd::grad({got}, in.All(), {seed}), b = torch::autograd::grad({want}, in.All(), {seed});
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].sizes(), b[i].sizes()) << i;
    EXPECT_LT((a[i] - b[i]).norm().item<double>(), tolerance * b[i].norm().item<double>()) << i;
  }
}

TEST(RouterMlpTest, EqualsItsFormula) {
  for (const auto& [rows, width, units, experts] :
       {std::array<int64_t, 4>{1, 4, 3, 2}, {37, 20, 10, 3}, {130, 40, 83, 5}, {200, 96, 64, 9}}) {
    const Inputs in(rows, width, units, experts);
    ExpectSameGradients(RouterMlp(in.x, in.weights, 0.5, nullptr, at::kFloat), in.Formula(in.Hidden(at::kFloat)), in, 1e-5);
    ExpectSameGradients(RouterMlp(in.x, in.weights, 0, nullptr, at::kBFloat16), in.Formula(in.Hidden(at::kBFloat16)), in, 2e-2);
  }
}

// With the identity as second layer the logits are the hidden units: what was dropped is seen, and the formula can drop the same.
TEST(RouterMlpTest, DropoutIsAMaskOfTheHiddenUnits) {
  constexpr double kDropout = 0.25;
  constexpr int64_t kRows = 600, kUnits = 50;
  Inputs in(kRows, 16, kUnits, kUnits);
  in.weights.w2 = Inputs::Leaf(at::eye(kUnits));
  in.weights.b2 = Inputs::Leaf(at::zeros({kUnits}));
  at::Generator generator = at::detail::createCPUGenerator(11);
  const at::Tensor got = RouterMlp(in.x, in.weights, kDropout, &generator, at::kFloat), hidden = in.Hidden(at::kFloat);
  const at::Tensor active = hidden.detach().gt(1e-3), kept = got.detach().ne(0);
  const double share = kept.logical_and(active).sum().item<double>() / active.sum().item<double>();
  EXPECT_NEAR(share, 1 - kDropout, 0.015);
  // Neither rows nor units are dropped together.
  const at::Tensor of_rows = kept.logical_and(active).to(at::kFloat).sum(1) / active.sum(1);
  EXPECT_NEAR(of_rows.std().item<double>(), std::sqrt(kDropout * (1 - kDropout) / (kUnits / 2.0)), 0.03);
  ExpectSameGradients(got, in.Formula(hidden * kept / (1 - kDropout)), in, 1e-5);

  at::Generator again = at::detail::createCPUGenerator(11), other = at::detail::createCPUGenerator(12);
  EXPECT_TRUE(at::equal(got, RouterMlp(in.x, in.weights, kDropout, &again, at::kFloat)));
  EXPECT_FALSE(at::equal(got, RouterMlp(in.x, in.weights, kDropout, &other, at::kFloat)));
  EXPECT_FALSE(at::equal(got, RouterMlp(in.x, in.weights, kDropout, &again, at::kFloat)));
}

}  // namespace
}  // namespace switchyard::trainer
