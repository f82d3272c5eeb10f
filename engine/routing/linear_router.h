// Kind "linear": logits = W x (+ b) in fp32, as Switch Transformers and most softmax gates.
// With selection_bias it is Loss-Free Balancing's (Wang et al., 2408.15664, with a softmax gate): chosen by p + bias, weighted by p.
// Tensors: layers.{l}.router.weight [E, H], optionally bias [E] and selection_bias [E].
#pragma once

#include <memory>

#include "engine/routing/router.h"

namespace switchyard {

StatusOr<std::unique_ptr<Router>> LoadLinearRouter(const RouterArtifact& artifact, const SelectionRule& rule, const Compute& compute);

}  // namespace switchyard
