// What an operator may ask for, and what it makes of a content. Pure: reads artifacts only through the inspector given.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "engine/base/status.h"
#include "engine/catalog/content.h"
#include "engine/catalog/state_file.h"

namespace switchyard {

// Brings an artifact in under a name. Loading what the name holds already (the same content hash) changes nothing.
struct LoadChange {
  ArtifactKind kind = ArtifactKind::kExpert;
  std::string name;
  std::string directory;  // relative to the artifact root; "" for the zero expert
  // false: ALREADY_EXISTS when the name holds other content. true: NOT_FOUND when the name is not there.
  bool replace = false;
  std::optional<std::string> expected_generation;  // what the name must hold now; "" for nothing
};
struct UnloadChange {
  ArtifactKind kind = ArtifactKind::kExpert;
  std::string name;
  std::optional<std::string> expected_generation;
};
// Points `name` (new or not) to the generation that `target` holds.
struct AliasChange {
  ArtifactKind kind = ArtifactKind::kExpert;
  std::string name, target;
  std::optional<std::string> expected_generation;  // of `name`; "" for nothing
};
struct RoleChange {
  RouterRole role = RouterRole::kStable;
  std::string router;  // "" takes the role away from whoever has it
  double share = 0;    // canary and shadow
};
// The canary becomes stable; the old stable router stays loaded, without a role.
struct PromoteChange {};
// The whole content of an earlier revision, whose directories must still hold the same generations.
struct RollBackChange {
  std::optional<uint64_t> revision;  // none: the one before the present
};
using Change = std::variant<LoadChange, UnloadChange, AliasChange, RoleChange, PromoteChange, RollBackChange>;

// All changes together or none: one publication.
struct ChangeRequest {
  std::vector<Change> changes;
  std::optional<uint64_t> expected_revision;
  // Give a role to a router some of whose experts are not served, or unload an expert that a router with a role was made with: those are
  // masked.
  bool allow_masking = false;
  bool dry_run = false;        // resolve, inspect, plan and compare with the budgets; load and change nothing
  std::string reason{};        // why, where nobody asked: part of the operation's summary
  std::string requested_by{};  // who asked, for the log and the operation
  // Told when the operation has ended, on the catalog's thread; must not block. Not called for a request that Submit refuses. Null: nobody.
  std::function<void(const Status&)> ended{};
};

inline constexpr size_t kMaxChanges = 256;

// The content hash of an artifact directory as it is now.
using GenerationOf = std::function<StatusOr<std::string>(ArtifactKind, const std::string& directory)>;

// `content` after the changes, in their order. INVALID_ARGUMENT for what no state allows; NOT_FOUND for unknown names and revisions;
// ALREADY_EXISTS; FAILED_PRECONDITION when an expected generation is not there, with both named, or a directory of an earlier revision now
// holds something else; what `generation_of` says.
StatusOr<CatalogContent> ApplyChanges(CatalogContent content, const std::vector<Change>& changes, const std::vector<PastContent>& history,
                                      const GenerationOf& generation_of);

// What was asked for, for counting: "load", "replace", "unload", "alias", "role", "promote", "roll_back", "several" for changes of more
// than one kind, "dry_run".
std::string KindOf(const ChangeRequest& request);
// One line for logs and lists: "load expert law, role stable r2".
std::string Summary(const ChangeRequest& request);

}  // namespace switchyard
