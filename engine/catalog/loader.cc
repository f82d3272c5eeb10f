#include "engine/catalog/loader.h"

#include <filesystem>
#include <set>

namespace switchyard {
namespace {

std::string Where(ArtifactKind kind, const NamedArtifact& artifact) {
  return absl::StrFormat("%s \"%s\" (%s)", KindName(kind), artifact.name,
                         artifact.directory.empty() ? std::string("zero") : artifact.directory);
}

Status CheckGeneration(ArtifactKind kind, const NamedArtifact& artifact, const std::string& found) {
  if (artifact.generation == found) return OkStatus();
  return FailedPrecondition("%s: expected generation %s, found %s; artifacts are immutable: publish under another directory",
                            Where(kind, artifact), artifact.generation, found);
}

}  // namespace

StatusOr<std::string> Inspector::Path(const std::string& directory) const {
  if (directory.empty() || std::filesystem::path(directory).is_absolute()) return directory;
  return root_.Resolve(directory);
}

StatusOr<ExpertInfo> Inspector::Expert(const std::string& directory) {
  if (const auto known = experts_.find(directory); known != experts_.end()) return known->second;
  ASSIGN_OR_RETURN(const std::string path, Path(directory));
  ASSIGN_OR_RETURN(ExpertInfo info, builder_.InspectExpert(path));
  return experts_[directory] = std::move(info);
}

StatusOr<RouterInfo> Inspector::Router(const std::string& directory) {
  if (const auto known = routers_.find(directory); known != routers_.end()) return known->second;
  ASSIGN_OR_RETURN(const std::string path, Path(directory));
  ASSIGN_OR_RETURN(RouterInfo info, builder_.InspectRouter(path));
  return routers_[directory] = std::move(info);
}

StatusOr<std::string> Inspector::Generation(ArtifactKind kind, const std::string& directory) {
  if (kind == ArtifactKind::kExpert) {
    ASSIGN_OR_RETURN(const ExpertInfo info, Expert(directory));
    return info.generation;
  }
  ASSIGN_OR_RETURN(const RouterInfo info, Router(directory));
  return info.generation;
}

StatusOr<int64_t> Inspector::DiskBytes(const std::string& directory) const {
  ASSIGN_OR_RETURN(const std::string path, Path(directory));
  namespace fs = std::filesystem;
  std::error_code error;
  int64_t bytes = 0;
  for (fs::recursive_directory_iterator entry(path, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->is_regular_file(error) && !error) bytes += static_cast<int64_t>(entry->file_size(error));
    if (error) break;
  }
  if (error) return NotFound("%s: cannot be listed: %s", directory, error.message());
  return bytes;
}

StatusOr<RouterInfo> Loader::InfoOf(const NamedArtifact& router, Inspector& inspector) const {
  if (const auto part = residency_.FindRouter(router.generation)) return part->info();
  return inspector.Router(router.directory);
}

Status Loader::CheckCoverage(const CatalogContent& before, const CatalogContent& after, bool allow_masking, Inspector& inspector,
                             std::vector<std::string>* notes) const {
  for (const RouterRole role : kRouterRoles) {
    const std::string& name = after.role(role).router;
    const NamedArtifact* router = name.empty() ? nullptr : after.Find(ArtifactKind::kRouter, name);
    if (router == nullptr) continue;
    ASSIGN_OR_RETURN(const RouterInfo info, InfoOf(*router, inspector));
    const Coverage coverage = CoverageOf(info, after.experts);
    notes->push_back(Explain(coverage, name, role));
    if (coverage.missing.empty() || allow_masking) continue;
    const NamedArtifact* held_before = before.Find(ArtifactKind::kRouter, before.role(role).router);
    const bool is_new = held_before == nullptr || held_before->generation != router->generation;
    bool unloaded = false;  // a bound expert's name goes away
    for (const RouterInfo::Binding& binding : info.experts) {
      unloaded = unloaded || (before.Find(ArtifactKind::kExpert, binding.name) != nullptr &&
                              after.Find(ArtifactKind::kExpert, binding.name) == nullptr);
    }
    if (is_new || unloaded) {
      return FailedPrecondition("%s. Load what is missing in the same change, or allow masking", notes->back());
    }
  }
  return OkStatus();
}

Status Loader::CheckCountsAndDisk(const CatalogContent& content, Inspector& inspector) const {
  for (const auto& [kind, most] :
       {std::pair{ArtifactKind::kExpert, budget_.max_experts}, std::pair{ArtifactKind::kRouter, budget_.max_routers}}) {
    const size_t count = content.list(kind).size();
    if (count > static_cast<size_t>(most))
      return ResourceExhausted("count budget: at most %d %ss, this would make %d", most, KindName(kind), count);
  }
  if (budget_.disk_bytes == 0) return OkStatus();
  std::set<std::string> directories;
  int64_t bytes = 0;
  for (const ArtifactKind kind : {ArtifactKind::kExpert, ArtifactKind::kRouter}) {
    for (const NamedArtifact& artifact : content.list(kind)) {
      if (artifact.directory.empty() || !directories.insert(artifact.directory).second) continue;
      const StatusOr<int64_t> more = inspector.DiskBytes(artifact.directory);
      if (more.status().code() == absl::StatusCode::kNotFound) continue;  // takes no room; reading says so when it is needed
      if (!more.ok()) return more.status();
      bytes += *more;
    }
  }
  if (bytes > budget_.disk_bytes)
    return ResourceExhausted("disk budget: at most %d bytes in the directories of all experts and routers, this would make %d",
                             budget_.disk_bytes, bytes);
  return OkStatus();
}

StatusOr<int64_t> Loader::BytesToLoad(const CatalogContent& content, Inspector& inspector) const {
  int64_t bytes = 0;
  std::set<std::string> seen;
  for (const NamedArtifact& expert : content.experts) {
    if (residency_.IsResident(ArtifactKind::kExpert, expert.generation) || !seen.insert(expert.generation).second) continue;
    ASSIGN_OR_RETURN(const ExpertInfo info, inspector.Expert(expert.directory));
    bytes += info.bytes;
  }
  for (const NamedArtifact& router : content.routers) {
    if (residency_.IsResident(ArtifactKind::kRouter, router.generation) || !seen.insert(router.generation).second) continue;
    ASSIGN_OR_RETURN(const RouterInfo info, inspector.Router(router.directory));
    bytes += info.bytes;
  }
  return bytes;
}

Status Loader::LoadExpert(const NamedArtifact& artifact, Inspector& inspector, LoadedContent* next) const {
  std::shared_ptr<const ExpertPart> part = residency_.FindExpert(artifact.generation);
  if (part == nullptr) {
    ASSIGN_OR_RETURN(const ExpertInfo info, inspector.Expert(artifact.directory));
    ASSIGN_OR_RETURN(const std::string path, inspector.Path(artifact.directory));
    RETURN_IF_ERROR(residency_.Reserve(info.bytes));
    auto loaded = builder_.LoadExpert(path);
    if (!loaded.ok()) {
      residency_.Release(info.bytes);
      return Annotate(loaded.status(), Where(ArtifactKind::kExpert, artifact));
    }
    part = residency_.AdmitExpert(*std::move(loaded), info.bytes);
  }
  RETURN_IF_ERROR(CheckGeneration(ArtifactKind::kExpert, artifact, part->info().generation));
  next->experts[artifact.generation] = std::move(part);
  return OkStatus();
}

Status Loader::LoadRouter(const NamedArtifact& artifact, Inspector& inspector, LoadedContent* next) const {
  std::shared_ptr<const RouterPart> part = residency_.FindRouter(artifact.generation);
  if (part == nullptr) {
    ASSIGN_OR_RETURN(const RouterInfo info, inspector.Router(artifact.directory));
    ASSIGN_OR_RETURN(const std::string path, inspector.Path(artifact.directory));
    RETURN_IF_ERROR(residency_.Reserve(info.bytes));
    auto loaded = builder_.LoadRouter(path);
    if (!loaded.ok()) {
      residency_.Release(info.bytes);
      return Annotate(loaded.status(), Where(ArtifactKind::kRouter, artifact));
    }
    part = residency_.AdmitRouter(*std::move(loaded), info.bytes);
  }
  RETURN_IF_ERROR(CheckGeneration(ArtifactKind::kRouter, artifact, part->info().generation));
  next->routers[artifact.generation] = std::move(part);
  return OkStatus();
}

StatusOr<LoadedContent> Loader::Load(const CatalogContent& content, Inspector& inspector, const StepFn& step) const {
  step(LoadStep::kReserve);
  RETURN_IF_ERROR(CheckCountsAndDisk(content, inspector));
  // All or nothing before anything is read: the sum is refused here, each part's own share is kept free while it loads.
  ASSIGN_OR_RETURN(const int64_t bytes, BytesToLoad(content, inspector));
  RETURN_IF_ERROR(residency_.Reserve(bytes));
  residency_.Release(bytes);
  LoadedContent next;
  next.content = content;
  step(LoadStep::kRead);
  for (const NamedArtifact& expert : content.experts) RETURN_IF_ERROR(LoadExpert(expert, inspector, &next));
  step(LoadStep::kProbe);
  for (const NamedArtifact& router : content.routers) RETURN_IF_ERROR(LoadRouter(router, inspector, &next));
  return next;
}

StatusOr<std::shared_ptr<const Snapshot>> Loader::Build(const LoadedContent& content, const std::string& router) const {
  SnapshotPlan plan;
  plan.allow_masking = true;
  for (const NamedArtifact& expert : content.content.experts) plan.experts.push_back({expert.name, content.experts.at(expert.generation)});
  if (!router.empty()) plan.router = content.routers.at(content.content.Find(ArtifactKind::kRouter, router)->generation);
  ASSIGN_OR_RETURN(std::shared_ptr<const Snapshot> snapshot, builder_.Build(plan));
  return residency_.AdmitSnapshot(std::move(snapshot));
}

Status Loader::Bind(const LoadedContent* current, LoadedContent* next) const {
  std::string experts;
  for (const NamedArtifact& expert : next->content.experts) experts += expert.name + "\n" + expert.generation + "\n";
  for (const RouterRole role : kRouterRoles) {
    const RoleHolder& holder = next->content.role(role);
    if (holder.router.empty() && role != RouterRole::kStable) continue;  // no snapshot; without a stable router there still is one
    const NamedArtifact* router = next->content.Find(ArtifactKind::kRouter, holder.router);
    const std::string key = experts + "\n" + (router == nullptr ? "" : router->generation);
    std::shared_ptr<const Snapshot> snapshot;
    if (current != nullptr) {
      for (const auto& [old_role, old_key] : current->snapshot_keys) {
        if (old_key != key) continue;
        snapshot = old_role == RouterRole::kStable   ? current->set.stable
                   : old_role == RouterRole::kCanary ? current->set.canary
                                                     : current->set.shadow;
      }
    }
    if (snapshot == nullptr) {
      auto built = Build(*next, holder.router);
      if (!built.ok()) return Annotate(built.status(), absl::StrFormat("%s snapshot", RoleName(role)));
      snapshot = *std::move(built);
    }
    next->snapshot_keys[role] = key;
    (role == RouterRole::kStable   ? next->set.stable
     : role == RouterRole::kCanary ? next->set.canary
                                   : next->set.shadow) = std::move(snapshot);
  }
  next->set.canary_share = next->content.canary.share;
  next->set.shadow_share = next->content.shadow.share;
  return OkStatus();
}

}  // namespace switchyard
