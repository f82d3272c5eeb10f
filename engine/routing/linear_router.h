// Kind "linear": logits = W x (+ b) in fp32, as Switch Transformers and most softmax gates.
// Tensors: layers.{l}.router.weight [E, H], optionally layers.{l}.router.bias [E].
#pragma once

#include <memory>

#include "engine/routing/router.h"

namespace switchyard {

StatusOr<std::unique_ptr<Router>> LoadLinearRouter(const RouterArtifact& artifact, const SelectionRule& rule, const Compute& compute);

}  // namespace switchyard
