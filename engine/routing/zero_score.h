// What the zero expert scores where scores come from experts' own parameters: it has none, so a constant stands for it. Private to this
// room.
#pragma once

#include <ATen/ATen.h>

#include "engine/routing/router_tensors.h"

namespace switchyard {

// `zero_score` [1] of the layer when the router has a zero expert, otherwise 0 (and the tensor must be absent).
inline StatusOr<float> ReadZeroScore(const RouterArtifact& artifact, int32_t layer, RouterTensors* tensors) {
  for (const RouterExpertBinding& expert : artifact.manifest.experts) {
    if (!expert.is_zero) continue;
    ASSIGN_OR_RETURN(const at::Tensor score, tensors->Get(layer, "zero_score", {1}, at::kFloat));
    return score.item<float>();
  }
  return 0.0f;
}

}  // namespace switchyard
