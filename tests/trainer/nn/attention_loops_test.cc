// The blocked attention against its formula on LibTorch's autograd.
#include "trainer/nn/attention_loops.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>
#include <tuple>
#include <utility>

namespace switchyard::trainer {
namespace {

struct Sizes {
  int64_t rows, dim, group;
};

class AttentionLoopsTest : public ::testing::TestWithParam<Sizes> {};

// q [rows, group, dim], k and v [rows, dim] -> [rows, group, dim]
at::Tensor Formula(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale) {
  const at::Tensor hidden = at::ones({q.size(0), q.size(0)}, at::kBool).tril().logical_not();
  const at::Tensor scores = at::matmul(q.permute({1, 0, 2}), k.t()) * scale;
  return at::matmul(at::softmax(scores.masked_fill(hidden, -std::numeric_limits<double>::infinity()), -1), v).permute({1, 0, 2});
}

TEST_P(AttentionLoopsTest, EqualsAutograd) {
  const auto [rows, dim, group] = GetParam();
  at::manual_seed(3);
  // q, k, v of a row beside each other with a gap before and after, as rows of a wider matrix.
  const int64_t width = (group + 2) * dim + 7;
  const at::Tensor qkv = at::randn({rows, width}) * 1.5, d_o = at::randn({rows, group * dim + 3});
  const auto parts = [&](const at::Tensor& all) {
    return std::tuple(all.slice(1, 3, 3 + group * dim).reshape({rows, group, dim}), all.slice(1, 3 + group * dim, 3 + (group + 1) * dim),
                      all.slice(1, 3 + (group + 1) * dim, 3 + (group + 2) * dim));
  };
  const double scale = 1.0 / std::sqrt(static_cast<double>(dim));
  const at::Tensor exact = qkv.to(at::kDouble).requires_grad_(true);
  const auto [q, k, v] = parts(exact);
  const at::Tensor wanted = Formula(q, k, v, scale);
  const at::Tensor seed = d_o.slice(1, 0, group * dim).reshape({rows, group, dim}).to(at::kDouble);
  const at::Tensor wanted_grad = torch::autograd::grad({wanted}, {exact}, {seed})[0];

  const loops::AttentionShape shape{rows, dim, group, width, group * dim + 3, static_cast<float>(scale)};
  loops::AttentionScratch scratch(200000, 5.0f);  // what an earlier call left there
  at::Tensor o = at::full({rows, group * dim + 3}, -9.0f), d = at::zeros({rows, width});
  const float* from = qkv.const_data_ptr<float>() + 3;
  loops::AttentionForward(shape, from, from + group * dim, from + (group + 1) * dim, &scratch, o.mutable_data_ptr<float>());
  EXPECT_TRUE(at::allclose(o.slice(1, 0, group * dim), wanted.detach().reshape({rows, group * dim}).to(at::kFloat), 1e-4, 1e-5));
  EXPECT_TRUE(o.slice(1, group * dim).eq(-9).all().item<bool>());
  float* to = d.mutable_data_ptr<float>() + 3;
  loops::AttentionBackward(shape, from, from + group * dim, from + (group + 1) * dim, d_o.const_data_ptr<float>(), &scratch, to,
                           to + group * dim, to + (group + 1) * dim);
  const at::Tensor off = (d - wanted_grad.to(at::kFloat)).abs();
  EXPECT_LT(off.max().item<float>(), 2e-4 * std::max(1.0f, wanted_grad.abs().max().item<float>()));
}

// Whole and broken blocks of rows and lanes, one row, and sequences longer than one block of queries.
INSTANTIATE_TEST_SUITE_P(All, AttentionLoopsTest,
                         ::testing::Values(Sizes{1, 4, 1}, Sizes{3, 12, 2}, Sizes{16, 16, 1}, Sizes{13, 64, 3}, Sizes{40, 64, 3},
                                           Sizes{63, 20, 1}, Sizes{64, 32, 4}, Sizes{65, 33, 2}, Sizes{131, 80, 2}, Sizes{260, 48, 1}),
                         [](const auto& info) {
                           return std::to_string(info.param.rows) + "x" + std::to_string(info.param.dim) + "x" +
                                  std::to_string(info.param.group);
                         });

}  // namespace
}  // namespace switchyard::trainer
