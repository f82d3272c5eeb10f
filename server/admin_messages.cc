#include "server/admin_messages.h"

#include <algorithm>
#include <utility>

#include "server/wire.h"

namespace switchyard {
namespace {

v1::ArtifactKind KindMessage(ArtifactKind kind) {
  return kind == ArtifactKind::kExpert ? v1::ARTIFACT_KIND_EXPERT : v1::ARTIFACT_KIND_ROUTER;
}
v1::RouterRole RoleMessage(RouterRole role) {
  return role == RouterRole::kStable   ? v1::ROUTER_ROLE_STABLE
         : role == RouterRole::kCanary ? v1::ROUTER_ROLE_CANARY
                                       : v1::ROUTER_ROLE_SHADOW;
}

StatusOr<RouterRole> RoleOf(v1::RouterRole role) {
  switch (role) {
    case v1::ROUTER_ROLE_STABLE:
      return RouterRole::kStable;
    case v1::ROUTER_ROLE_CANARY:
      return RouterRole::kCanary;
    case v1::ROUTER_ROLE_SHADOW:
      return RouterRole::kShadow;
    default:
      return InvalidArgument("role: expected stable, canary or shadow, found %d", static_cast<int>(role));
  }
}

template <typename Message>
std::optional<std::string> Expected(const Message& message) {
  return message.has_expected_generation() ? std::optional(message.expected_generation()) : std::nullopt;
}

StatusOr<Change> ChangeOf(const v1::Change& message) {
  switch (message.change_case()) {
    case v1::Change::kLoad: {
      ASSIGN_OR_RETURN(const ArtifactKind kind, KindOf(message.load().kind()));
      return LoadChange{kind, message.load().name(), message.load().directory(), message.load().replace(), Expected(message.load())};
    }
    case v1::Change::kUnload: {
      ASSIGN_OR_RETURN(const ArtifactKind kind, KindOf(message.unload().kind()));
      return UnloadChange{kind, message.unload().name(), Expected(message.unload())};
    }
    case v1::Change::kAlias: {
      ASSIGN_OR_RETURN(const ArtifactKind kind, KindOf(message.alias().kind()));
      return AliasChange{kind, message.alias().name(), message.alias().target(), Expected(message.alias())};
    }
    case v1::Change::kRole: {
      ASSIGN_OR_RETURN(const RouterRole role, RoleOf(message.role().role()));
      return RoleChange{role, message.role().router(), message.role().share()};
    }
    case v1::Change::kPromote:
      return PromoteChange{};
    case v1::Change::kRollBack:
      return RollBackChange{message.roll_back().has_revision() ? std::optional<uint64_t>(message.roll_back().revision()) : std::nullopt};
    case v1::Change::CHANGE_NOT_SET:
      break;
  }
  return InvalidArgument("is empty");
}

void FillExpert(const NamedArtifact& named, const ExpertInfo& info, v1::Artifact* message) {
  message->set_bytes(info.bytes);
  message->set_is_zero(info.is_zero);
  message->set_max_rank(info.max_rank);
  message->set_untrained(info.untrained);
  for (const std::string& note : info.notes) message->add_notes(AsUtf8(note));
  message->set_kind(v1::ARTIFACT_KIND_EXPERT);
  message->set_name(AsUtf8(named.name));
  message->set_directory(AsUtf8(named.directory));
  message->set_generation(named.generation);
}

void FillRouter(const CatalogView& view, const NamedArtifact& named, const RouterInfo& info, v1::Artifact* message) {
  message->set_kind(v1::ARTIFACT_KIND_ROUTER);
  message->set_name(AsUtf8(named.name));
  message->set_directory(AsUtf8(named.directory));
  message->set_generation(named.generation);
  message->set_bytes(info.bytes);
  message->set_untrained(info.untrained);
  for (const std::string& note : info.notes) message->add_notes(AsUtf8(note));
  message->set_router_kind(AsUtf8(info.kind));
  message->set_top_k(info.top_k);
  message->set_separable(info.separable);
  for (const RouterRole role : kRouterRoles) {
    if (view.content.role(role).router == named.name) message->add_roles(RoleMessage(role));
  }
  for (const RouterInfo::Binding& binding : info.experts) {
    v1::Artifact::BoundExpert* bound = message->add_bound();
    bound->set_name(AsUtf8(binding.name));
    bound->set_generation(binding.generation);
    bound->set_is_zero(binding.is_zero);
    const NamedArtifact* served = view.content.Find(ArtifactKind::kExpert, binding.name);
    bound->set_served(served != nullptr && served->generation == binding.generation);
  }
}

void FillRoles(const CatalogView& view, v1::CatalogState* message) {
  size_t note = 0;
  for (const RouterRole role : kRouterRoles) {
    const RoleHolder& holder = view.content.role(role);
    if (holder.router.empty()) continue;
    v1::CatalogState::Role* entry = message->add_roles();
    entry->set_role(RoleMessage(role));
    entry->set_router(AsUtf8(holder.router));
    entry->set_share(holder.share);
    entry->set_snapshot(role == RouterRole::kStable   ? view.stable_snapshot
                        : role == RouterRole::kCanary ? view.canary_snapshot
                                                      : view.shadow_snapshot);
    if (note < view.role_notes.size()) entry->set_note(AsUtf8(view.role_notes[note++]));
  }
}

}  // namespace

StatusOr<ArtifactKind> KindOf(v1::ArtifactKind kind) {
  if (kind == v1::ARTIFACT_KIND_EXPERT) return ArtifactKind::kExpert;
  if (kind == v1::ARTIFACT_KIND_ROUTER) return ArtifactKind::kRouter;
  return InvalidArgument("kind: expected expert or router, found %d", static_cast<int>(kind));
}

StatusOr<ChangeRequest> ChangeRequestOf(const v1::ApplyRequest& request) {
  ChangeRequest result;
  for (int i = 0; i < request.changes_size(); ++i) {
    auto change = ChangeOf(request.changes(i));
    if (!change.ok()) return Annotate(change.status(), absl::StrFormat("changes[%d]", i));
    result.changes.push_back(*std::move(change));
  }
  if (request.has_expected_revision()) result.expected_revision = request.expected_revision();
  result.allow_masking = request.allow_masking();
  result.dry_run = request.dry_run();
  return result;
}

void FillOperation(const Operation& operation, v1::Operation* message) {
  message->set_id(operation.id);
  message->set_summary(AsUtf8(operation.summary));
  message->set_requested_by(AsUtf8(operation.requested_by));
  message->set_state(static_cast<v1::Operation::State>(static_cast<int>(operation.state) + 1));
  message->set_step(StepName(operation.step));
  if (!operation.error.ok()) {
    message->mutable_error()->set_code(static_cast<int>(operation.error.code()));
    message->mutable_error()->set_step(StepName(operation.step));
    message->mutable_error()->set_message(AsUtf8(std::string(Message(operation.error))));
  }
  message->set_dry_run(operation.dry_run);
  message->set_changed(operation.changed);
  message->set_revision(operation.revision);
  message->set_load_bytes(operation.load_bytes);
  message->set_resident_bytes(operation.resident_bytes);
  message->set_budget_bytes(operation.budget_bytes);
  for (const std::string& note : operation.notes) message->add_notes(AsUtf8(note));
  for (const Operation::StepTime& time : operation.times) {
    v1::Operation::Step* step = message->add_steps();
    step->set_name(StepName(time.step));
    step->set_ms(time.ms);
  }
  for (const Operation::Retired& part : operation.retired) {
    v1::Operation::Retired* retired = message->add_retired();
    retired->set_kind(KindMessage(part.kind));
    retired->set_generation(part.generation);
    retired->set_bytes(part.bytes);
    retired->set_freed(part.freed);
    retired->set_freed_after_ms(part.freed_after_ms);
  }
  message->set_freed_bytes(operation.freed_bytes());
  message->set_retiring_bytes(operation.retiring_bytes());
  message->set_created_unix_ms(operation.created_unix_ms);
}

void FillState(const CatalogView& view, v1::CatalogState* message) {
  message->set_revision(view.revision);
  message->set_base_generation(view.base_generation);
  for (size_t i = 0; i < view.experts.size(); ++i) FillExpert(view.content.experts[i], view.experts[i], message->add_experts());
  for (size_t i = 0; i < view.routers.size(); ++i) FillRouter(view, view.content.routers[i], view.routers[i], message->add_routers());
  FillRoles(view, message);
  for (const PastContent& past : view.history) {
    v1::CatalogState::Past* entry = message->add_history();
    entry->set_revision(past.revision);
    for (const NamedArtifact& e : past.content.experts) entry->add_experts(AsUtf8(e.name) + "=" + e.generation);
    for (const NamedArtifact& r : past.content.routers) entry->add_routers(AsUtf8(r.name) + "=" + r.generation);
    entry->set_stable(AsUtf8(past.content.stable.router));
  }
  for (const std::string& problem : view.problems) message->add_problems(AsUtf8(problem));
  message->set_resident_bytes(view.resident_bytes);
  message->set_budget_bytes(view.budget.memory_bytes);
  message->set_max_experts(view.budget.max_experts);
  message->set_max_routers(view.budget.max_routers);
  message->set_queued_operations(view.queued);
  message->set_operations_succeeded(view.totals.succeeded);
  message->set_operations_failed(view.totals.failed);
  message->set_freed_bytes(view.totals.freed_bytes);
}

void FillDivergence(const DivergenceWatch& watch, v1::CatalogState* message) {
  for (v1::CatalogState::Role& role : *message->mutable_roles()) {
    const auto kind = RoleOf(role.role());
    const auto candidate = kind.ok() ? watch.candidate(*kind) : std::nullopt;
    if (!candidate || candidate->candidate != role.snapshot()) continue;
    const DivergenceFigures& figures = candidate->figures;
    const RouteDivergence::Layer sum = figures.routes.Sum();
    v1::CatalogState::Divergence* out = role.mutable_divergence();
    out->set_compared(figures.compared);
    out->set_skipped(figures.skipped);
    out->set_failed(figures.failed);
    out->set_decisions(sum.rows);
    out->set_best_changed(sum.best_changed);
    out->set_set_changed(sum.set_changed);
    if (sum.rows > 0) out->set_js_nats(sum.js_nats / static_cast<double>(sum.rows));
    out->set_answers(figures.answers);
    out->set_answer_flips(figures.answer_flips);
  }
}

Status FillArtifact(const CatalogView& view, ArtifactKind kind, const std::string& name, v1::Artifact* message) {
  const auto& list = view.content.list(kind);
  const size_t known = kind == ArtifactKind::kExpert ? view.experts.size() : view.routers.size();
  std::string names;
  for (size_t i = 0; i < std::min(list.size(), known); ++i) {
    if (list[i].name == name) {
      if (kind == ArtifactKind::kExpert) FillExpert(list[i], view.experts[i], message);
      if (kind == ArtifactKind::kRouter) FillRouter(view, list[i], view.routers[i], message);
      return OkStatus();
    }
    names += (names.empty() ? "" : ", ") + list[i].name;
  }
  return NotFound("no %s \"%s\"; there are: %s", KindName(kind), name, names.empty() ? "none" : names);
}

void FillUtilisation(const Engine& engine, v1::Utilisation* message) {
  const auto snapshot = engine.snapshot();
  message->set_snapshot(snapshot->info().generation);
  const RouteSums sums = engine.route_sums();
  for (const RouteSums::Expert& expert : sums.experts) message->add_experts(AsUtf8(expert.name));
  for (size_t layer = 0; layer < sums.rows.size(); ++layer) {
    v1::Utilisation::Layer* entry = message->add_layers();
    for (const RouteSums::Expert& expert : sums.experts) {
      entry->add_tokens(expert.tokens[layer]);
      entry->add_weight(expert.weight[layer]);
    }
    entry->set_entropy_sum(sums.entropy_sum[layer]);
    entry->set_entropy_rows(sums.entropy_rows[layer]);
    entry->set_rows(sums.rows[layer]);
  }
  const EngineStats stats = engine.stats();
  message->set_prompt_tokens(stats.prompt_tokens);
  message->set_generated_tokens(stats.generated_tokens);
  message->set_scored_tokens(stats.scored_tokens);
  message->set_queued_tasks(stats.queued_tasks);
  message->set_running_tasks(stats.running_tasks);
  message->set_kv_blocks_total(stats.kv_blocks_total);
  message->set_kv_blocks_used(stats.kv_blocks_used);
  message->set_step_seconds(stats.step_seconds);
  message->set_steps(stats.steps);
}

}  // namespace switchyard
