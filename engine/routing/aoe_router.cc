#include "engine/routing/aoe_router.h"

#include <utility>

#include "engine/routing/subspace_router.h"

namespace switchyard {

StatusOr<std::unique_ptr<Router>> LoadAoeRouter(const RouterArtifact& artifact, const SelectionRule& rule, const Compute& compute) {
  ASSIGN_OR_RETURN(SubspaceParameters norms,
                   LoadSubspaces(artifact, /*max_rank=*/0, {DirectionRule::kNormA, DirectionRule::kNormBa}, compute));
  return std::make_unique<SubspaceRouter>(rule, norms.derivation, std::move(norms.layers));
}

}  // namespace switchyard
