// What a server is wanted to hold: experts and routers by name, and which router plays which role. Plain values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/status.h"

namespace switchyard {

enum class ArtifactKind { kExpert, kRouter };
const char* KindName(ArtifactKind kind);  // "expert", "router"

// A name is an alias: it points to a generation, and may point to another one later.
struct NamedArtifact {
  std::string name;
  // Relative to the artifact root; absolute for what the operator named at the start; "" for the zero expert.
  std::string directory;
  std::string generation;  // content hash, hex; "zero" for the zero expert
  bool operator==(const NamedArtifact&) const = default;
};

enum class RouterRole { kStable, kCanary, kShadow };
const char* RoleName(RouterRole role);  // "stable", "canary", "shadow"

struct RoleHolder {
  std::string router;  // a name; "" when nobody has the role
  double share = 0;    // of request keys (canary) or of requests (shadow), [0, 1]; unused for stable
  bool operator==(const RoleHolder&) const = default;
};

struct CatalogContent {
  std::vector<NamedArtifact> experts;  // in the order of loading
  std::vector<NamedArtifact> routers;
  RoleHolder stable, canary, shadow;

  std::vector<NamedArtifact>& list(ArtifactKind kind) { return kind == ArtifactKind::kExpert ? experts : routers; }
  const std::vector<NamedArtifact>& list(ArtifactKind kind) const { return kind == ArtifactKind::kExpert ? experts : routers; }
  RoleHolder& role(RouterRole role);
  const RoleHolder& role(RouterRole role) const;
  NamedArtifact* Find(ArtifactKind kind, const std::string& name);
  const NamedArtifact* Find(ArtifactKind kind, const std::string& name) const;
  bool operator==(const CatalogContent&) const = default;
};

inline constexpr RouterRole kRouterRoles[] = {RouterRole::kStable, RouterRole::kCanary, RouterRole::kShadow};
inline constexpr size_t kMaxArtifactNames = 4096;  // of each kind, whatever the configured budget says
inline constexpr size_t kMaxNameBytes = 128;

// INVALID_ARGUMENT: names are 1 to 128 bytes without control characters.
Status CheckName(ArtifactKind kind, const std::string& name);
// INVALID_ARGUMENT: unique names, roles held by routers that are there, shares in [0, 1].
Status CheckContent(const CatalogContent& content);

}  // namespace switchyard
