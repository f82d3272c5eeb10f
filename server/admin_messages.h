// Between the admin messages and the catalog's own types.
#pragma once

#include "engine/base/status.h"
#include "engine/catalog/catalog.h"
#include "engine/runtime/engine.h"
#include "server/divergence_watch.h"
#include "switchyard/v1/admin.pb.h"

namespace switchyard {

// INVALID_ARGUMENT naming the field.
StatusOr<ChangeRequest> ChangeRequestOf(const v1::ApplyRequest& request);
StatusOr<ArtifactKind> KindOf(v1::ArtifactKind kind);
void FillOperation(const Operation& operation, v1::Operation* message);
void FillState(const CatalogView& view, v1::CatalogState* message);
// After FillState: what the rivals of the stable router do differently.
void FillDivergence(const DivergenceWatch& watch, v1::CatalogState* message);
// NOT_FOUND names those there are.
Status FillArtifact(const CatalogView& view, ArtifactKind kind, const std::string& name, v1::Artifact* message);
void FillUtilisation(const Engine& engine, v1::Utilisation* message);

}  // namespace switchyard
