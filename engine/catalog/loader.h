// The steps between a wanted content and the snapshots that serve it. No threads and no state of its own.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/catalog/artifact_root.h"
#include "engine/catalog/changes.h"
#include "engine/catalog/content.h"
#include "engine/catalog/coverage.h"
#include "engine/catalog/residency.h"
#include "engine/runtime/serving_set.h"
#include "engine/runtime/snapshot_builder.h"

namespace switchyard {

// A content with everything it needs, resident. Immutable once published; copied cheaply.
struct LoadedContent {
  CatalogContent content;
  std::map<std::string, std::shared_ptr<const ExpertPart>> experts;  // by generation
  std::map<std::string, std::shared_ptr<const RouterPart>> routers;
  ServingSet set;
  std::map<RouterRole, std::string> snapshot_keys;  // what each snapshot of `set` was put together from
};

// What artifact directories hold, read once each. Lives for one operation.
class Inspector {
 public:
  Inspector(SnapshotBuilder& builder, const ArtifactRoot& root) : builder_(builder), root_(root) {}
  StatusOr<ExpertInfo> Expert(const std::string& directory);
  StatusOr<RouterInfo> Router(const std::string& directory);
  StatusOr<std::string> Generation(ArtifactKind kind, const std::string& directory);
  // Of all regular files below it. NOT_FOUND when it cannot be listed.
  StatusOr<int64_t> DiskBytes(const std::string& directory) const;
  // The path the builder is given. Absolute directories come from the operator's own command line and are taken as they are.
  StatusOr<std::string> Path(const std::string& directory) const;

 private:
  SnapshotBuilder& builder_;
  const ArtifactRoot& root_;
  std::map<std::string, ExpertInfo> experts_;
  std::map<std::string, RouterInfo> routers_;
};

using WarmFn = std::function<Status(const ServingSet&)>;

// Used by one thread at a time. Everything given must outlive it.
class Loader {
 public:
  // Called when a step begins.
  using StepFn = std::function<void(LoadStep)>;

  Loader(SnapshotBuilder& builder, const ArtifactRoot& root, Residency& residency, const CatalogBudget& budget)
      : builder_(builder), root_(root), residency_(residency), budget_(budget) {}

  Inspector NewInspector() const { return Inspector(builder_, root_); }

  // What the routers with a role were made with against what would be served, a line each in `notes`. FAILED_PRECONDITION naming both lists
  // when a router that gets its role now, or whose expert is unloaded now, misses one; unless `allow_masking`.
  Status CheckCoverage(const CatalogContent& before, const CatalogContent& after, bool allow_masking, Inspector& inspector,
                       std::vector<std::string>* notes) const;
  // RESOURCE_EXHAUSTED with all figures when there are more names than the budget has, or more bytes in the directories they are loaded
  // from. Lists each directory once.
  Status CheckCountsAndDisk(const CatalogContent& content, Inspector& inspector) const;
  // Bytes that `content` would make resident beside what is.
  StatusOr<int64_t> BytesToLoad(const CatalogContent& content, Inspector& inspector) const;

  // Steps reserve, read and probe: everything `content` names, resident parts shared with whoever holds them.
  StatusOr<LoadedContent> Load(const CatalogContent& content, Inspector& inspector, const StepFn& step) const;
  // Step bind: one snapshot a role, those of `current` kept where nothing changed. Router lists are met by masking: CheckCoverage has
  // decided.
  Status Bind(const LoadedContent* current, LoadedContent* next) const;

 private:
  Status LoadExpert(const NamedArtifact& artifact, Inspector& inspector, LoadedContent* next) const;
  Status LoadRouter(const NamedArtifact& artifact, Inspector& inspector, LoadedContent* next) const;
  StatusOr<RouterInfo> InfoOf(const NamedArtifact& router, Inspector& inspector) const;
  StatusOr<std::shared_ptr<const Snapshot>> Build(const LoadedContent& content, const std::string& router) const;

  SnapshotBuilder& builder_;
  const ArtifactRoot& root_;
  Residency& residency_;
  const CatalogBudget budget_;
};

}  // namespace switchyard
