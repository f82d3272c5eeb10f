// Mixtures of Gaussians with diagonal covariance, by expectation maximisation; and the projection they are fitted in.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "engine/base/status.h"

namespace switchyard::trainer {

// The directions in which rows vary most.
struct Projection {
  at::Tensor center;      // [H] f32: the rows' mean
  at::Tensor directions;  // [D, H] f32, orthonormal, by falling variance
};
// rows [N, H]. D is at most `dimensions`, N - 1 and H, and leaves out directions without variance. INVALID_ARGUMENT when there is none.
StatusOr<Projection> PrincipalComponents(const at::Tensor& rows, int64_t dimensions);
at::Tensor Project(const Projection& projection, const at::Tensor& rows);  // [N, D] f64

struct GaussianMixture {
  at::Tensor log_weight;  // [K] f64
  at::Tensor mean;        // [K, D]
  at::Tensor variance;    // [K, D]
};
struct MixtureFitOptions {
  int64_t components = 4;   // at most; one for every eight rows
  int32_t iterations = 50;  // at most; ends earlier when the likelihood rests
  double floor = 1e-3;      // variances are at least this part of the rows' own, so that no component falls onto one row
  uint64_t seed = 1;
};
// rows [N, D] f64, N at least 2. Starts at rows far from one another, the first drawn by the seed. Deterministic.
StatusOr<GaussianMixture> FitMixture(const at::Tensor& rows, const MixtureFitOptions& options);
// ln p of each row, [N] f64.
at::Tensor LogDensity(const GaussianMixture& mixture, const at::Tensor& rows);

}  // namespace switchyard::trainer
