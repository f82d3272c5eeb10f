// What separable methods take from an expert's own matrices: a few directions of the feed-forward block's input. One place for the tool
// that makes artifacts and for a router that meets an expert it was not made with, so that both give the same.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/base/status.h"

namespace switchyard {

// With D = s B A the delta of the gate projection:
//   top_direction  the right singular vector of D's largest singular value: [1, H], length 1
//   norm_a         A itself: [r, H]
//   norm_ba        M with MᵀM = DᵀD, so that |M x| = |D x|, in r rows and not D's many
//   row_space      an orthonormal basis of the inputs that D does not send to 0: at most r rows
enum class DirectionRule { kNone, kTopDirection, kNormA, kNormBa, kRowSpace };
StatusOr<DirectionRule> ParseDirectionRule(std::string_view name);  // "" is kNone
std::string_view DirectionRuleName(DirectionRule rule);

// One layer's gate delta, s B A. Undefined tensors: the expert leaves this layer's gate projection alone.
struct GateMatrices {
  at::Tensor a;      // [r, H], any floating dtype
  at::Tensor b;      // [M, r]
  double scale = 1;  // s
};
struct ExpertGates {
  std::vector<GateMatrices> layers;  // [L]
};

// [n, H] f32, n from 1 to r. One row of zeros for an absent or zero delta: it scores 0. Computes in f64; costs (M + H) r² and an eigenvalue
// problem of size r. The signs of singular vectors are arbitrary. REQUIRES: rule is not kNone; shapes that fit.
at::Tensor DirectionsOf(DirectionRule rule, const GateMatrices& gate, int64_t hidden);

// The mean of |M x| over the rows of `rows` [S, H], S at least 1; directions [n, H]. In f64.
double MeanLength(const at::Tensor& directions, const at::Tensor& rows);
// `directions` as a router holds them: divided by temperature and, with a sample (defined, [S, H]), by their mean length over it. A mean
// length of 0 divides by nothing.
at::Tensor Calibrated(const at::Tensor& directions, double temperature, const at::Tensor& sample);

}  // namespace switchyard
