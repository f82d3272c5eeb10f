// Kind "expert_choice": Expert Choice (Zhou et al., 2202.09368) in the one form that can serve. As published each expert takes its best
// tokens of a batch, which depends on later tokens; here an expert takes every token whose p = softmax(W x) reaches the threshold it has in
// its layer, at most top_k of them a token, and none is possible. The zero expert takes part in the softmax and is never chosen. Tensors:
// layers.{l}.router.weight [E, H], threshold [E].
#pragma once

#include <memory>

#include "engine/routing/router.h"

namespace switchyard {

// UNIMPLEMENTED when there are no thresholds: that is the exact form.
StatusOr<std::unique_ptr<Router>> LoadExpertChoiceRouter(const RouterArtifact& artifact, const SelectionRule& rule, const Compute& compute);

}  // namespace switchyard
