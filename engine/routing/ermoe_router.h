// Kind "ermoe": score_e = |V_e^T x| / |x| in [0, 1], the share of x that lies in the input space of the expert's gate delta; the weights
// are the scores of the selected divided by their sum. After ERMoE (2511.10971), for LoRA experts and without training. The logits are ln
// score_e: their softmax is the normalised score. Tensors: layers.{l}.router.directions.{e} [r_e, H], orthonormal rows, for every expert
// but zero; zero_score [1] with a zero expert, in (0, 1].
#pragma once

#include <memory>

#include "engine/routing/router.h"

namespace switchyard {

StatusOr<std::unique_ptr<Router>> LoadErmoeRouter(const RouterArtifact& artifact, const SelectionRule& rule, const Compute& compute);

}  // namespace switchyard
