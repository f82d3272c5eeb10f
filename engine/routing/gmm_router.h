// Kind "gmm": logit_e = ln p_e(z), the density of the input under expert e's own mixture of Gaussians with diagonal covariance, z = P (x -
// c) a projection that all share. The softmax of the logits is the posterior of the experts under equal priors. After Input-Domain-Aware
// MoE (2510.16448), with one mixture fitted for each expert alone. The zero expert's constant is a threshold on the density: what is unlike
// every expert's text stays with the base. Tensors, D directions and K_e components: layers.{l}.router.center [H], projection [D, H]; for
// every expert but zero log_weight.{e} [K_e], mean.{e} [K_e, D] and precision.{e} [K_e, D], inverse variances above 0; zero_score [1] with
// a zero expert.
#pragma once

#include <memory>

#include "engine/routing/router.h"

namespace switchyard {

StatusOr<std::unique_ptr<Router>> LoadGmmRouter(const RouterArtifact& artifact, const SelectionRule& rule, const Compute& compute);

}  // namespace switchyard
