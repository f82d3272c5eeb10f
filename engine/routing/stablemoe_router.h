// Kind "stablemoe": the second stage of StableMoE (Dai et al., 2204.08396). A table a layer, distilled from a trained router, says which
// expert a token goes to; how strongly it speaks is the sigmoid of its affinity with x: logit (W x)_e, weight_mode "sigmoid", all others
// -inf. Tensors: layers.{l}.router.table [V] I32, weight [E, H].
#pragma once

#include <memory>

#include "engine/routing/router.h"

namespace switchyard {

// INVALID_ARGUMENT also for a weight_mode that is not sigmoid, and what TokenTables refuses.
StatusOr<std::unique_ptr<Router>> LoadStableMoeRouter(const RouterArtifact& artifact, const SelectionRule& rule, const Compute& compute);

}  // namespace switchyard
