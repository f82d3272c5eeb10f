// The two layers of dense2moe_mlp on LibTorch's tape as one node: a router of a few hundred units is a few small products, and as a dozen
// tensor operations a layer it took longer than they do.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

namespace switchyard::trainer {

struct RouterMlpWeights {
  at::Tensor w1, b1;  // [F, H], [F] f32
  at::Tensor w2, b2;  // [E, F], [E] f32
};

// logits [T, E] f32 = w2 drop(relu(w1 x + b1)) + b2, differentiable in x [T, H] f32 and the weights. The first product is computed in
// `compute`. `dropout` in [0, 1) of the hidden units is drawn from one value of `generator`; null: none.
at::Tensor RouterMlp(const at::Tensor& x, const RouterMlpWeights& weights, double dropout, at::Generator* generator,
                     at::ScalarType compute);

}  // namespace switchyard::trainer
