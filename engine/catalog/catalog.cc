#include "engine/catalog/catalog.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "engine/base/background_thread.h"

namespace switchyard {
namespace {

CatalogOptions Checked(CatalogOptions options) {
  options.max_history = std::min(options.max_history, kMaxHistory);
  return options;
}

// A content's own artifacts with the generations their directories hold now; recorded ones must still be there.
Status FillGenerations(CatalogContent* content, Inspector& inspector, StatePolicy policy, std::vector<std::string>* problems) {
  for (const ArtifactKind kind : {ArtifactKind::kExpert, ArtifactKind::kRouter}) {
    std::vector<NamedArtifact> kept;
    for (NamedArtifact& artifact : content->list(kind)) {
      auto generation = inspector.Generation(kind, artifact.directory);
      Status status = generation.status();
      if (status.ok() && !artifact.generation.empty() && *generation != artifact.generation) {
        status = FailedPrecondition("%s: expected generation %s, found %s", artifact.directory, artifact.generation, *generation);
      }
      if (status.ok()) {
        artifact.generation = *generation;
        kept.push_back(artifact);
        continue;
      }
      status = Annotate(status, absl::StrFormat("%s \"%s\"", KindName(kind), artifact.name));
      if (policy == StatePolicy::kStrict) return status;
      problems->push_back(absl::StrFormat("%s: %s", absl::StatusCodeToString(status.code()), Message(status)));
    }
    content->list(kind) = std::move(kept);
  }
  return OkStatus();
}

void DropVacantRoles(CatalogContent* content) {
  for (const RouterRole role : kRouterRoles) {
    if (content->Find(ArtifactKind::kRouter, content->role(role).router) == nullptr) content->role(role) = {};
  }
}

// Named over the network: no absolute paths (the start's own are trusted).
Status CheckRequest(const ChangeRequest& request) {
  if (request.changes.empty() || request.changes.size() > kMaxChanges) {
    return InvalidArgument("changes: expected 1 to %d, found %d", kMaxChanges, request.changes.size());
  }
  for (const Change& change : request.changes) {
    const auto* load = std::get_if<LoadChange>(&change);
    if (load != nullptr && std::filesystem::path(load->directory).is_absolute()) {
      return InvalidArgument("%s: expected a path relative to the artifact root", load->directory);
    }
  }
  return OkStatus();
}

}  // namespace

Catalog::Catalog(CatalogOptions options, SnapshotBuilder* builder, ArtifactRoot root, PublishFn publish)
    : options_(Checked(std::move(options))),
      builder_(builder),
      root_(std::move(root)),
      publish_(std::move(publish)),
      log_(std::make_shared<OperationLog>(options_.max_operations)),
      retirer_(Retirer::Start()),
      residency_(std::make_shared<Residency>(options_.budget.memory_bytes, retirer_, log_)),
      loader_(*builder_, root_, *residency_, options_.budget),
      queue_(options_.max_queued) {}

StatusOr<std::unique_ptr<Catalog>> Catalog::Create(CatalogOptions options, SnapshotBuilder* builder, const CatalogContent& initial,
                                                   PublishFn publish) {
  ASSIGN_OR_RETURN(ArtifactRoot root, ArtifactRoot::Open(options.artifact_root));
  std::unique_ptr<Catalog> catalog(new Catalog(std::move(options), builder, std::move(root), std::move(publish)));
  RETURN_IF_ERROR(catalog->LoadFirst(initial));
  catalog->thread_ = std::thread([raw = catalog.get()] {
    MakeThisABackgroundThread();
    raw->Run();
  });
  return catalog;
}

Catalog::~Catalog() { Stop(); }

void Catalog::Stop() {
  stopping_ = true;
  queue_.Close();
  if (thread_.joinable()) thread_.join();
  {
    std::lock_guard lock(mutex_);
    served_.set = {};
    served_.experts.clear();
    served_.routers.clear();
  }
  retirer_->Close();
}

// ---------------------------------------------------------------------------------------------------------------- the start

Status Catalog::LoadFirst(const CatalogContent& initial) {
  Inspector inspector = loader_.NewInspector();
  DesiredState state;
  bool from_file = false;
  if (!options_.state_file.empty()) {
    auto read = ReadState(*options_.files, options_.state_file);
    if (!read.ok() && read.status().code() != absl::StatusCode::kNotFound) {
      return Annotate(read.status(), "the desired state cannot be used; restore the file, or move it away to start from the configuration");
    }
    from_file = read.ok();
    if (from_file) state = *std::move(read);
  }
  if (from_file && state.base_generation != builder_->base_generation()) {
    return FailedPrecondition("%s: made for base %s, this server has base %s; move it away to start from the configuration",
                              options_.state_file, state.base_generation, builder_->base_generation());
  }
  if (!from_file) state.content = initial;
  StatePolicy policy = from_file ? options_.state_policy : StatePolicy::kStrict;
  RETURN_IF_ERROR(CheckContent(state.content));
  RETURN_IF_ERROR(FillGenerations(&state.content, inspector, policy, &problems_));
  DropVacantRoles(&state.content);
  if (!from_file && !state.content.stable.router.empty()) {
    const NamedArtifact* router = state.content.Find(ArtifactKind::kRouter, state.content.stable.router);
    ASSIGN_OR_RETURN(const RouterInfo info, inspector.Router(router->directory));
    const Coverage coverage = CoverageOf(info, state.content.experts);
    if (!coverage.exact()) return FailedPrecondition("%s", Explain(coverage, router->name, RouterRole::kStable));
  }
  ASSIGN_OR_RETURN(LoadedContent loaded, LoadDesired(&state, inspector));
  RETURN_IF_ERROR(loader_.Bind(nullptr, &loaded));
  if (options_.warm) RETURN_IF_ERROR(options_.warm(loaded.set));
  if (!from_file) {
    state.revision = 1;
    state.base_generation = builder_->base_generation();
    if (!options_.state_file.empty()) RETURN_IF_ERROR(WriteState(*options_.files, options_.state_file, state));
  }
  loaded.set.revision = state.revision;
  {
    std::lock_guard lock(mutex_);
    revision_ = state.revision;
    history_ = std::move(state.history);
    served_ = std::move(loaded);
  }
  publish_(served_.set);
  residency_->SetServed(served_.set);
  return OkStatus();
}

// With policy kServe, what does not load is left out and tried no more.
StatusOr<LoadedContent> Catalog::LoadDesired(DesiredState* state, Inspector& inspector) {
  CatalogContent& content = state->content;
  const auto no_step = [](LoadStep) {};
  auto loaded = loader_.Load(content, inspector, no_step);
  if (loaded.ok() || options_.state_policy == StatePolicy::kStrict) return loaded;
  // Which ones? Each is tried beside those that did load: nothing is read twice, the good ones are shared.
  CatalogContent good;
  LoadedContent held;  // keeps them resident meanwhile
  for (const ArtifactKind kind : {ArtifactKind::kExpert, ArtifactKind::kRouter}) {
    for (const NamedArtifact& artifact : content.list(kind)) {
      good.list(kind).push_back(artifact);
      auto tried = loader_.Load(good, inspector, no_step);
      if (tried.ok()) {
        held = *std::move(tried);
        continue;
      }
      good.list(kind).pop_back();
      problems_.push_back(absl::StrFormat("%s: %s", absl::StatusCodeToString(tried.status().code()), Message(tried.status())));
    }
  }
  good.stable = content.stable;
  good.canary = content.canary;
  good.shadow = content.shadow;
  content = std::move(good);
  DropVacantRoles(&content);
  return loader_.Load(content, inspector, no_step);
}

// ---------------------------------------------------------------------------------------------------------------- operations

StatusOr<uint64_t> Catalog::Submit(ChangeRequest request) {
  RETURN_IF_ERROR(CheckRequest(request));
  Job job;
  job.id = log_->Add(Summary(request), KindOf(request), request.dry_run, request.requested_by);
  const uint64_t id = job.id;
  job.request = std::move(request);
  Status refused;
  switch (queue_.TryPush(std::move(job))) {
    case BoundedQueue<Job>::Push::kAccepted:
      return id;
    case BoundedQueue<Job>::Push::kFull:
      refused = ResourceExhausted("%d operations are waiting already; retry when one has finished", options_.max_queued);
      break;
    case BoundedQueue<Job>::Push::kClosed:
      refused = Unavailable("the server is stopping");
      break;
  }
  log_->Update(id, [&](Operation& operation) {
    operation.state = OperationState::kFailed;
    operation.error = refused;
  });
  TellEnd(id);
  return refused;
}

void Catalog::TellEnd(uint64_t id) const {
  if (!options_.ended) return;
  if (const auto operation = log_->Get(id); operation.ok()) options_.ended(*operation);
}

void Catalog::Run() {
  while (std::optional<Job> job = queue_.Pop()) Execute(*job);
}

void Catalog::BeginStep(uint64_t id, LoadStep step) {
  const Clock::Time now = Clock::Real()->Now();
  log_->Update(id, [&](Operation& operation) {
    if (operation.state == OperationState::kRunning) operation.times.push_back({operation.step, Milliseconds(step_begin_, now)});
    operation.state = OperationState::kRunning;
    operation.step = step;
  });
  step_begin_ = now;
}

void Catalog::Execute(const Job& job) {
  step_begin_ = Clock::Real()->Now();
  // Jobs that wait when Stop closes the queue are still popped.
  const Status status = stopping_ ? Unavailable("the server is stopping") : Apply(job);
  const Clock::Time now = Clock::Real()->Now();
  log_->Update(job.id, [&](Operation& operation) {
    operation.times.push_back({operation.step, Milliseconds(step_begin_, now)});
    operation.error = status;
    operation.state = status.ok() ? OperationState::kSucceeded : OperationState::kFailed;
    if (status.ok()) operation.step = LoadStep::kDone;
    operation.revision = revision_;
  });
  TellEnd(job.id);
  if (job.request.ended) job.request.ended(status);
}

Status Catalog::Apply(const Job& job) {
  const ChangeRequest& request = job.request;
  const uint64_t id = job.id;
  BeginStep(id, LoadStep::kPlan);
  if (request.expected_revision && *request.expected_revision != revision_) {
    return FailedPrecondition("expected revision %d, found %d: somebody else changed something; look again", *request.expected_revision,
                              revision_);
  }
  Inspector inspector = loader_.NewInspector();
  ASSIGN_OR_RETURN(const CatalogContent content,
                   ApplyChanges(served_.content, request.changes, history_,
                                [&](ArtifactKind kind, const std::string& directory) { return inspector.Generation(kind, directory); }));
  std::vector<std::string> notes;
  BeginStep(id, LoadStep::kCheck);
  // What was served before may be served again, masked as it was.
  const bool restores = request.changes.size() == 1 && std::holds_alternative<RollBackChange>(request.changes[0]);
  const Status covered = loader_.CheckCoverage(served_.content, content, request.allow_masking || restores, inspector, &notes);
  log_->Update(id, [&](Operation& operation) { operation.notes = notes; });
  RETURN_IF_ERROR(covered);
  ASSIGN_OR_RETURN(const int64_t bytes, loader_.BytesToLoad(content, inspector));
  const int64_t resident = residency_->resident_bytes();
  log_->Update(id, [&](Operation& operation) {
    operation.load_bytes = bytes;
    operation.resident_bytes = resident;
    operation.budget_bytes = options_.budget.memory_bytes;
  });
  if (content == served_.content) return OkStatus();
  if (request.dry_run) {
    BeginStep(id, LoadStep::kReserve);
    RETURN_IF_ERROR(loader_.CheckCountsAndDisk(content, inspector));
    RETURN_IF_ERROR(residency_->Reserve(bytes));
    residency_->Release(bytes);
    log_->Update(id, [&](Operation& operation) { operation.changed = true; });
    return OkStatus();
  }
  ASSIGN_OR_RETURN(LoadedContent next, loader_.Load(content, inspector, [&](LoadStep step) { BeginStep(id, step); }));
  BeginStep(id, LoadStep::kBind);
  RETURN_IF_ERROR(loader_.Bind(&served_, &next));
  if (options_.warm) {
    BeginStep(id, LoadStep::kWarm);
    RETURN_IF_ERROR(options_.warm(next.set));
  }
  return Publish(id, std::move(next));
}

DesiredState Catalog::NextState(const CatalogContent& content) const {
  DesiredState state{revision_ + 1, builder_->base_generation(), content, history_};
  state.history.push_back({revision_, served_.content});
  if (state.history.size() > options_.max_history) state.history.erase(state.history.begin(), state.history.end() - options_.max_history);
  return state;
}

Status Catalog::Publish(uint64_t id, LoadedContent next) {
  DesiredState state = NextState(next.content);
  // On disk before anybody can run on it: what was once published survives a kill.
  if (!options_.state_file.empty()) {
    BeginStep(id, LoadStep::kPersist);
    RETURN_IF_ERROR(WriteState(*options_.files, options_.state_file, state));
  }
  BeginStep(id, LoadStep::kPublish);
  next.set.revision = state.revision;
  std::vector<Operation::Retired> retired = Retire(id, served_, next);
  log_->Update(id, [&](Operation& operation) {
    operation.changed = true;
    operation.retired = std::move(retired);
  });
  publish_(next.set);
  {
    std::lock_guard lock(mutex_);
    std::swap(served_, next);
    revision_ = state.revision;
    history_ = std::move(state.history);
  }
  residency_->SetServed(served_.set);
  return OkStatus();  // `next`, now the old content, lets go of it here, outside the lock
}

std::vector<Operation::Retired> Catalog::Retire(uint64_t id, const LoadedContent& old, const LoadedContent& next) {
  std::vector<Operation::Retired> retired;
  std::vector<std::pair<ArtifactKind, std::string>> keys;
  for (const auto& [generation, part] : old.experts) {
    if (next.experts.contains(generation)) continue;
    retired.push_back({ArtifactKind::kExpert, generation, part->info().bytes});
    keys.emplace_back(ArtifactKind::kExpert, generation);
  }
  for (const auto& [generation, part] : old.routers) {
    if (next.routers.contains(generation)) continue;
    retired.push_back({ArtifactKind::kRouter, generation, part->info().bytes});
    keys.emplace_back(ArtifactKind::kRouter, generation);
  }
  residency_->Watch(id, keys);
  return retired;
}

CatalogView Catalog::Describe() const {
  CatalogView view;
  {
    std::lock_guard lock(mutex_);
    view.revision = revision_;
    view.content = served_.content;
    view.history = history_;
    view.problems = problems_;
    const auto generation = [](const std::shared_ptr<const Snapshot>& s) { return s == nullptr ? std::string() : s->info().generation; };
    view.stable_snapshot = generation(served_.set.stable);
    view.canary_snapshot = generation(served_.set.canary);
    view.shadow_snapshot = generation(served_.set.shadow);
    for (const NamedArtifact& e : view.content.experts) {
      if (const auto part = served_.experts.find(e.generation); part != served_.experts.end()) view.experts.push_back(part->second->info());
    }
    for (const NamedArtifact& r : view.content.routers) {
      if (const auto part = served_.routers.find(r.generation); part != served_.routers.end()) view.routers.push_back(part->second->info());
    }
  }
  for (const RouterRole role : kRouterRoles) {
    const std::string& name = view.content.role(role).router;
    for (size_t i = 0; i < view.routers.size(); ++i) {
      if (view.content.routers[i].name != name) continue;
      view.role_notes.push_back(Explain(CoverageOf(view.routers[i], view.content.experts), name, role));
    }
  }
  view.base_generation = builder_->base_generation();
  view.resident_bytes = residency_->resident_bytes();
  view.budget = options_.budget;
  view.queued = static_cast<int32_t>(queue_.size());
  view.totals = log_->totals();
  return view;
}

CatalogFigures Catalog::Figures() const {
  CatalogFigures figures;
  {
    std::lock_guard lock(mutex_);
    figures.revision = revision_;
    figures.experts = static_cast<int64_t>(served_.content.experts.size());
    figures.routers = static_cast<int64_t>(served_.content.routers.size());
  }
  figures.resident_bytes = residency_->resident_bytes();
  figures.budget = options_.budget;
  figures.queued = static_cast<int32_t>(queue_.size());
  figures.retired = residency_->retired(Clock::Real()->Now());
  figures.totals = log_->totals();
  for (size_t step = 0; step < kLoadSteps; ++step) figures.step_durations[step] = log_->step_durations(static_cast<LoadStep>(step));
  return figures;
}

}  // namespace switchyard
