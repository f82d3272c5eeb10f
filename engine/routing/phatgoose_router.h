// Kind "phatgoose": logit_e = <standardised v_e, standardised x> / sqrt(H), v_e a gate vector learned for expert e alone (Muqeeth et al.,
// 2402.05859). Standardised: zero mean, unit variance over the H values.
// Tensors: layers.{l}.router.gate.{e} [H], as learned, for every expert but zero; zero_score [1] with a zero expert.
#pragma once

#include <memory>

#include "engine/routing/router.h"

namespace switchyard {

StatusOr<std::unique_ptr<Router>> LoadPhatgooseRouter(const RouterArtifact& artifact, const SelectionRule& rule, const Compute& compute);

}  // namespace switchyard
