#include "engine/catalog/content.h"

#include <algorithm>
#include <set>

namespace switchyard {

const char* KindName(ArtifactKind kind) { return kind == ArtifactKind::kExpert ? "expert" : "router"; }

const char* RoleName(RouterRole role) {
  switch (role) {
    case RouterRole::kStable:
      return "stable";
    case RouterRole::kCanary:
      return "canary";
    case RouterRole::kShadow:
      return "shadow";
  }
  return "?";
}

const RoleHolder& CatalogContent::role(RouterRole role) const {
  return role == RouterRole::kStable ? stable : role == RouterRole::kCanary ? canary : shadow;
}
RoleHolder& CatalogContent::role(RouterRole role) {
  return role == RouterRole::kStable ? stable : role == RouterRole::kCanary ? canary : shadow;
}

const NamedArtifact* CatalogContent::Find(ArtifactKind kind, const std::string& name) const {
  const auto& all = list(kind);
  const auto found = std::find_if(all.begin(), all.end(), [&](const NamedArtifact& a) { return a.name == name; });
  return found == all.end() ? nullptr : &*found;
}
NamedArtifact* CatalogContent::Find(ArtifactKind kind, const std::string& name) {
  return const_cast<NamedArtifact*>(static_cast<const CatalogContent*>(this)->Find(kind, name));
}

Status CheckName(ArtifactKind kind, const std::string& name) {
  const bool clean = std::all_of(name.begin(), name.end(), [](unsigned char c) { return c >= 0x20 && c != 0x7f; });
  if (name.empty() || name.size() > kMaxNameBytes || !clean) {
    return InvalidArgument("%s name: expected 1 to %d bytes without control characters, found %d bytes", KindName(kind), kMaxNameBytes,
                           name.size());
  }
  return OkStatus();
}

Status CheckContent(const CatalogContent& content) {
  for (const ArtifactKind kind : {ArtifactKind::kExpert, ArtifactKind::kRouter}) {
    std::set<std::string> names;
    if (content.list(kind).size() > kMaxArtifactNames) {
      return InvalidArgument("%ss: expected at most %d, found %d", KindName(kind), kMaxArtifactNames, content.list(kind).size());
    }
    for (const NamedArtifact& artifact : content.list(kind)) {
      RETURN_IF_ERROR(CheckName(kind, artifact.name));
      if (!names.insert(artifact.name).second) return InvalidArgument("%s \"%s\" is there twice", KindName(kind), artifact.name);
      if (kind == ArtifactKind::kRouter && artifact.directory.empty())
        return InvalidArgument("router \"%s\" has no directory", artifact.name);
    }
  }
  for (const RouterRole role : kRouterRoles) {
    const RoleHolder& holder = content.role(role);
    if (!(holder.share >= 0 && holder.share <= 1)) {
      return InvalidArgument("%s share: expected 0 to 1, found %g", RoleName(role), holder.share);
    }
    if (!holder.router.empty() && content.Find(ArtifactKind::kRouter, holder.router) == nullptr) {
      return InvalidArgument("%s is router \"%s\", which is not loaded", RoleName(role), holder.router);
    }
  }
  return OkStatus();
}

}  // namespace switchyard
