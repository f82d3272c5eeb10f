// The feed-forward block of one layer as a mixture of LoRA experts, forwards and backwards, with one base product each way whatever the
// number of experts:
//
//   h_e = silu(G + s Bg_e Ag_e x) * (U + s Bu_e Au_e x),   G = Wg x, U = Wu x
//   y   = Wd [ (1 - sum g) h_0 + sum_e g_e h_e ] + sum_e g_e s Bd_e Ad_e h_e
//
// Backwards, with D = Wdᵀ dy: dL/dg_e = <h_e - h_0, D> + <s Bd_e Ad_e h_e, dy>, so a router's gradient needs no stored output of any
// expert, and Wgᵀ, Wuᵀ are applied once to the sums of the experts' gradients.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "trainer/nn/lora.h"
#include "trainer/nn/packed_linear.h"

namespace switchyard::trainer {

// How much of each expert a row takes. g_e = 0: not selected.
struct Gates {
  int64_t rows = 0;
  int32_t experts = 0;
  std::vector<float> value;  // [rows, experts]
  // The straight-through estimator (methods.md 1.1): gradients are wanted for every expert, also those no row selected.
  bool dense_gradient = false;

  float at(int64_t row, int32_t expert) const { return value[row * experts + expert]; }
};

// What Backward needs of Forward.
struct MixtureSaved {
  at::Tensor gate, up;  // [T, M] in the type that products are computed in: G and U
};

// Dropout of the LoRA inputs, drawn anew from (seed) so that a recomputed forward pass sees the same.
struct LoraDropout {
  double probability = 0;
  uint64_t seed = 0;
};

// Immutable but for scratch memory. Used on the training thread only.
class MixtureBlock {
 public:
  // gate, up [M, H], down [H, M].
  MixtureBlock(const TrainCompute& compute, const at::Tensor& gate, const at::Tensor& up, const at::Tensor& down);

  // x [T, H] -> y [T, H]. `experts` holds this layer's block of every expert, in the order of `gates`; empty ones are the base. saved: null
  // where there is no way back.
  void Forward(const float* x, const Gates& gates, const std::vector<LoraBlock*>& experts, const LoraDropout& dropout, MixtureSaved* saved,
               float* y) const;
  // dx [T, H] = gradient for x. dgates [T, E], or null when nobody wants it. Adds to the gradients of trainable experts.
  // With `orthogonality`, OrthogonalityLoss (expert_orthogonality.h) times so much is a loss beside dy's; returns its value, else 0.
  double Backward(const float* x, const Gates& gates, const std::vector<LoraBlock*>& experts, const LoraDropout& dropout,
                  const MixtureSaved& saved, const float* dy, float* dx, float* dgates, double orthogonality = 0) const;

 private:
  struct Rows;
  struct Way;

  const TrainCompute* compute_;
  PackedLinear gate_, up_, down_;
};

}  // namespace switchyard::trainer
