#include "engine/routing/arrow_router.h"

#include <utility>

#include "engine/routing/subspace_router.h"

namespace switchyard {

StatusOr<std::unique_ptr<Router>> LoadArrowRouter(const RouterArtifact& artifact, const SelectionRule& rule, const Compute& compute) {
  ASSIGN_OR_RETURN(SubspaceParameters arrows, LoadSubspaces(artifact, /*max_rank=*/1, {DirectionRule::kTopDirection}, compute));
  return std::make_unique<SubspaceRouter>(rule, arrows.derivation, std::move(arrows.layers));
}

}  // namespace switchyard
