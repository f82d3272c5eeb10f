// The catalog on a screen: what is held, one artifact, operations.
#pragma once

#include <string>

#include "client/terminal.h"
#include "switchyard/v1/admin.pb.h"

namespace switchyard::client {

// One line: what a canary or a shadow does differently from the stable router.
std::string DivergenceText(const v1::CatalogState::Divergence& divergence);
std::string StateView(const v1::CatalogState& state, const Style& style);
std::string ArtifactView(const v1::Artifact& artifact, const Style& style);
// What became of it, in a few lines; of one that runs still, how to follow it.
std::string OperationView(const v1::Operation& operation, const Style& style);
std::string OperationsTable(const v1::ListOperationsResponse& operations, const Style& style);

// "stable", "canary 10 %"
std::string RoleText(v1::RouterRole role, double share);
// "12.5 MiB"
std::string BytesText(int64_t bytes);

}  // namespace switchyard::client
