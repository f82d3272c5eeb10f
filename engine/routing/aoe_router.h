// Kind "aoe": logit_e = |M_e x|, Autonomy of Experts (Lv et al., 2501.13074) over LoRA experts. Who makes the artifact chooses M_e:
//   norm_a      M_e = A_e
//   norm_ba     M_e = s R_e A_e with R_e^T R_e = B_e^T B_e, so that |M_e x| = |s B_e A_e x| at the cost of r rows instead of the wide B_e
//   calibrated  either of them divided by its mean length over a text
// of the gate projection. Weight rule "renorm" is the softmax over the selected, "raw" over all.
// Tensors: layers.{l}.router.directions.{e} [r_e, H] for every expert but zero; zero_score [1] with a zero expert.
#pragma once

#include <memory>

#include "engine/routing/router.h"

namespace switchyard {

StatusOr<std::unique_ptr<Router>> LoadAoeRouter(const RouterArtifact& artifact, const SelectionRule& rule, const Compute& compute);

}  // namespace switchyard
