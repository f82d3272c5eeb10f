// Latent Prototype Router (2506.21328): a token becomes a point in a small latent space, an expert is a point there, and the score is the
// cosine of the two.
#pragma once

#include <memory>

#include "engine/routing/router.h"

namespace switchyard {

// score_e = cos(z, keys_e), z = Wm silu(LayerNorm(x)) + bm: the mean of the latent's distribution, without the noise of training. The
// tensors of its variance are checked and not kept.
StatusOr<std::unique_ptr<Router>> LoadLprRouter(const RouterArtifact& artifact, const SelectionRule& rule, const Compute& compute);

}  // namespace switchyard
