// Kind "hash": a table a layer from token id to expert (Roller et al., 2106.04426). The chosen expert's logit is 0, all others' -inf.
// Tensors: layers.{l}.router.table [V] I32, V the base's vocabulary, each entry an expert's position.
#pragma once

#include <memory>

#include "engine/routing/router.h"

namespace switchyard {

// INVALID_ARGUMENT also for a top_k that is not 1, tables of different length, and an entry that is no expert.
StatusOr<std::unique_ptr<Router>> LoadHashRouter(const RouterArtifact& artifact, const SelectionRule& rule, const Compute& compute);

}  // namespace switchyard
