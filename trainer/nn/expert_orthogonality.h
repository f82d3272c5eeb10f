// L_o of "Advancing Expert Specialization for Better MoE" (2505.22323, section 3.2): experts that answer the same row are to say different
// things, so the length of what one's output has in the direction of another's is a loss. Here an expert's output is its delta,
// full_e(x) - F(x): the base's part is common to all and would drown it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "trainer/nn/mixture_block.h"

namespace switchyard::trainer {

// What one expert said.
struct ExpertOutput {
  std::vector<int64_t> rows;  // ascending
  at::Tensor delta;           // [rows, H] f32
};

// sum over rows, and over ordered pairs (j, k) of experts that share the row, of | <d_j, d_k> / (<d_k, d_k> + 1e-8) d_k |^2. A scalar, on the
// tape of the deltas; undefined when no two experts share a row.
at::Tensor OrthogonalityLoss(const std::vector<ExpertOutput>& outputs);

// By expert the rows that it answers together with another one. An expert without adapters is the base and has no output.
std::vector<std::vector<int64_t>> SharedRows(const Gates& gates, const std::vector<LoraBlock*>& experts);

// One layer's block on its way back.
struct OrthogonalityPass {
  const PackedLinear* down = nullptr;
  at::Tensor x;         // [T, H] f32
  at::Tensor gate, up;  // [T, M]: G and U, f32 or bf16
  double scale = 0;     // of the loss
};
// Adds the gradients for G, U and x to dgate, dup [T, M] and dx [T, H], and to those of experts that train; returns scale times the loss.
// The outputs are those without dropout. Beside a pass without it this costs one product with Wd each way for every such row and expert, and
// the experts' hidden units on LibTorch's tape.
double OrthogonalityBackward(const OrthogonalityPass& pass, const Gates& gates, const std::vector<LoraBlock*>& experts, at::Tensor dgate,
                             at::Tensor dup, at::Tensor dx);

}  // namespace switchyard::trainer
