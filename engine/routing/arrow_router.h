// Kind "arrow": logit_e = |<x, v_e>|, v_e the top right singular vector of the expert's gate delta (Ostapenko et al., 2405.11157). The sign
// of a singular vector is arbitrary, hence the absolute value. A temperature is divided into v_e by who makes the artifact.
// Tensors: layers.{l}.router.directions.{e} [1, H] for every expert but zero; zero_score [1] with a zero expert.
#pragma once

#include <memory>

#include "engine/routing/router.h"

namespace switchyard {

StatusOr<std::unique_ptr<Router>> LoadArrowRouter(const RouterArtifact& artifact, const SelectionRule& rule, const Compute& compute);

}  // namespace switchyard
