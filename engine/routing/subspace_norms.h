// Per expert a matrix M_e [r_e, H]; per row x the lengths |M_e x|. What Arrow, Autonomy of Experts and the projection router share. Private
// to this room.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "engine/routing/router_tensors.h"
#include "engine/tensor/linear.h"

namespace switchyard {

// One layer: all matrices stacked into one product, so that a layer costs one pass over x however many experts there are.
class SubspaceNorms {
 public:
  // directions [r_e, H] of every expert, undefined for the zero expert, whose score is `zero_score`. At least one is defined.
  SubspaceNorms(const Compute& compute, const std::vector<at::Tensor>& directions, float zero_score);
  // Reads `directions.{e}` [r_e, H] of every expert that is not zero and `zero_score` [1] when one is. `max_rank` bounds r_e (0: any).
  // INVALID_ARGUMENT when all experts are zero or a rank is too large; RouterTensors::Get says the rest.
  static StatusOr<SubspaceNorms> Load(const RouterArtifact& artifact, int32_t layer, int64_t max_rank, const Compute& compute,
                                      RouterTensors* tensors);
  // x [T, H] f32 to [T, E] f32: |M_e x|; a zero expert's score is the layer's constant. NaN in a row of x makes its lengths NaN.
  at::Tensor Score(const at::Tensor& x) const;
  int32_t num_experts() const { return static_cast<int32_t>(ranks_.size()); }
  int64_t hidden() const { return stacked_.in_features(); }
  bool is_zero(int32_t expert) const { return ranks_[expert] == 0; }
  int64_t bytes() const { return stacked_.bytes(); }

 private:
  Linear stacked_;              // [sum r_e, H]
  std::vector<int64_t> ranks_;  // [E]; 0 for a zero expert
  float zero_score_;
};

}  // namespace switchyard
