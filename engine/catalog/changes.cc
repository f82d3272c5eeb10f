#include "engine/catalog/changes.h"

#include <algorithm>

#include "engine/catalog/coverage.h"

namespace switchyard {
namespace {

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

std::string NamesOf(const std::vector<NamedArtifact>& artifacts) {
  std::string names;
  for (const NamedArtifact& a : artifacts) names += (names.empty() ? "" : ", ") + a.name;
  return names.empty() ? "none" : names;
}

class Applier {
 public:
  Applier(CatalogContent content, const std::vector<PastContent>& history, const GenerationOf& generation_of)
      : content_(std::move(content)), history_(history), generation_of_(generation_of) {}

  Status operator()(const LoadChange& load) {
    RETURN_IF_ERROR(CheckName(load.kind, load.name));
    if (load.directory.empty() && load.kind == ArtifactKind::kRouter) return InvalidArgument("router \"%s\": no directory", load.name);
    ASSIGN_OR_RETURN(const std::string generation, generation_of_(load.kind, load.directory));
    RETURN_IF_ERROR(CheckExpected(load.kind, load.name, load.expected_generation));
    NamedArtifact* held = content_.Find(load.kind, load.name);
    if (held == nullptr && load.replace) return Unknown(load.kind, load.name);
    if (held != nullptr && held->generation == generation) return OkStatus();
    if (held != nullptr && !load.replace) {
      return AlreadyExists("%s \"%s\" holds generation %s, %s has %s; replace it, or load under another name", KindName(load.kind),
                           load.name, ShortHash(held->generation), load.directory, ShortHash(generation));
    }
    Put(load.kind, {load.name, load.directory, generation});
    return OkStatus();
  }

  Status operator()(const UnloadChange& unload) {
    RETURN_IF_ERROR(CheckExpected(unload.kind, unload.name, unload.expected_generation));
    if (content_.Find(unload.kind, unload.name) == nullptr) return Unknown(unload.kind, unload.name);
    if (unload.kind == ArtifactKind::kRouter) {
      for (const RouterRole role : kRouterRoles) {
        if (content_.role(role).router == unload.name) {
          return FailedPrecondition("router \"%s\" is %s; give the role to another router or take it away first", unload.name,
                                    RoleName(role));
        }
      }
    }
    std::erase_if(content_.list(unload.kind), [&](const NamedArtifact& a) { return a.name == unload.name; });
    return OkStatus();
  }

  Status operator()(const AliasChange& alias) {
    RETURN_IF_ERROR(CheckName(alias.kind, alias.name));
    RETURN_IF_ERROR(CheckExpected(alias.kind, alias.name, alias.expected_generation));
    const NamedArtifact* target = content_.Find(alias.kind, alias.target);
    if (target == nullptr) return Unknown(alias.kind, alias.target);
    Put(alias.kind, {alias.name, target->directory, target->generation});
    return OkStatus();
  }

  Status operator()(const RoleChange& change) {
    if (change.router.empty()) {
      content_.role(change.role) = {};
      return OkStatus();
    }
    if (content_.Find(ArtifactKind::kRouter, change.router) == nullptr) return Unknown(ArtifactKind::kRouter, change.router);
    const bool shared = change.role != RouterRole::kStable;
    if (shared && !(change.share > 0 && change.share <= 1)) {
      return InvalidArgument("%s share: expected more than 0 and at most 1, found %g", RoleName(change.role), change.share);
    }
    content_.role(change.role) = {change.router, shared ? change.share : 0};
    return OkStatus();
  }

  Status operator()(const PromoteChange&) {
    if (content_.canary.router.empty()) return FailedPrecondition("there is no canary to promote");
    content_.stable = {content_.canary.router, 0};
    content_.canary = {};
    return OkStatus();
  }

  Status operator()(const RollBackChange& change) {
    const auto past = change.revision ? std::find_if(history_.begin(), history_.end(),
                                                     [&](const PastContent& p) { return p.revision == *change.revision; })
                                      : (history_.empty() ? history_.end() : std::prev(history_.end()));
    if (past == history_.end()) {
      std::string known;
      for (const PastContent& p : history_) known += (known.empty() ? "" : ", ") + std::to_string(p.revision);
      return NotFound("no such revision to roll back to; known are: %s", known.empty() ? "none" : known);
    }
    for (const ArtifactKind kind : {ArtifactKind::kExpert, ArtifactKind::kRouter}) {
      for (const NamedArtifact& artifact : past->content.list(kind)) RETURN_IF_ERROR(CheckUnchanged(kind, artifact, past->revision));
    }
    content_ = past->content;
    return OkStatus();
  }

  CatalogContent Take() { return std::move(content_); }

 private:
  Status Unknown(ArtifactKind kind, const std::string& name) const {
    return NotFound("no %s \"%s\"; there are: %s", KindName(kind), name, NamesOf(content_.list(kind)));
  }

  Status CheckExpected(ArtifactKind kind, const std::string& name, const std::optional<std::string>& expected) const {
    if (!expected) return OkStatus();
    const NamedArtifact* held = content_.Find(kind, name);
    const std::string found = held == nullptr ? "" : held->generation;
    if (found == *expected) return OkStatus();
    return FailedPrecondition("%s \"%s\": expected generation %s, found %s", KindName(kind), name, expected->empty() ? "none" : *expected,
                              found.empty() ? "none" : found);
  }

  Status CheckUnchanged(ArtifactKind kind, const NamedArtifact& artifact, uint64_t revision) const {
    const NamedArtifact* held = content_.Find(kind, artifact.name);
    if (held != nullptr && held->generation == artifact.generation) return OkStatus();  // resident: its directory is not needed
    auto found = generation_of_(kind, artifact.directory);
    if (!found.ok()) return Annotate(found.status(), absl::StrFormat("revision %d, %s \"%s\"", revision, KindName(kind), artifact.name));
    if (*found == artifact.generation) return OkStatus();
    return FailedPrecondition("revision %d, %s \"%s\": %s holds generation %s now, expected %s", revision, KindName(kind), artifact.name,
                              artifact.directory, *found, artifact.generation);
  }

  void Put(ArtifactKind kind, NamedArtifact artifact) {
    if (NamedArtifact* held = content_.Find(kind, artifact.name); held != nullptr) {
      *held = std::move(artifact);
    } else {
      content_.list(kind).push_back(std::move(artifact));
    }
  }

  CatalogContent content_;
  const std::vector<PastContent>& history_;
  const GenerationOf& generation_of_;
};

std::string Words(const Change& change) {
  return std::visit(
      Overloaded{
          [](const LoadChange& c) { return absl::StrFormat("%s %s %s", c.replace ? "replace" : "load", KindName(c.kind), c.name); },
          [](const UnloadChange& c) { return absl::StrFormat("unload %s %s", KindName(c.kind), c.name); },
          [](const AliasChange& c) { return absl::StrFormat("alias %s %s to %s", KindName(c.kind), c.name, c.target); },
          [](const RoleChange& c) { return absl::StrFormat("%s %s", RoleName(c.role), c.router.empty() ? std::string("none") : c.router); },
          [](const PromoteChange&) { return std::string("promote"); },
          [](const RollBackChange& c) {
            return c.revision ? absl::StrFormat("roll back to revision %d", *c.revision) : std::string("roll back");
          }},
      change);
}

}  // namespace

StatusOr<CatalogContent> ApplyChanges(CatalogContent content, const std::vector<Change>& changes, const std::vector<PastContent>& history,
                                      const GenerationOf& generation_of) {
  if (changes.empty() || changes.size() > kMaxChanges)
    return InvalidArgument("changes: expected 1 to %d, found %d", kMaxChanges, changes.size());
  Applier applier(std::move(content), history, generation_of);
  for (const Change& change : changes) RETURN_IF_ERROR(std::visit(applier, change));
  CatalogContent result = applier.Take();
  RETURN_IF_ERROR(CheckContent(result));
  return result;
}

std::string KindOf(const ChangeRequest& request) {
  if (request.dry_run) return "dry_run";
  static constexpr const char* kKinds[] = {"load", "unload", "alias", "role", "promote", "roll_back"};
  const auto kind = [](const Change& change) -> std::string {
    const auto* load = std::get_if<LoadChange>(&change);
    return load != nullptr && load->replace ? "replace" : kKinds[change.index()];
  };
  const bool alike = std::all_of(request.changes.begin(), request.changes.end(),
                                 [&](const Change& c) { return kind(c) == kind(request.changes.front()); });
  return alike && !request.changes.empty() ? kind(request.changes.front()) : "several";
}

std::string Summary(const ChangeRequest& request) {
  std::string text = request.dry_run ? "dry run: " : "";
  for (size_t i = 0; i < request.changes.size(); ++i) {
    if (i == 8) {
      text += absl::StrFormat(", and %d more", request.changes.size() - i);
      break;
    }
    text += (i == 0 ? "" : ", ") + Words(request.changes[i]);
  }
  return request.reason.empty() ? text : text + " (" + request.reason + ")";
}

}  // namespace switchyard
