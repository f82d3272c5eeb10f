#include "client/admin_view.h"

#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "client/generate_view.h"
#include "client/rpc_error.h"
#include "client/screen_text.h"
#include "client/table.h"

namespace switchyard::client {
namespace {

std::string StateName(v1::Operation::State state) {
  switch (state) {
    case v1::Operation::STATE_QUEUED:
      return "queued";
    case v1::Operation::STATE_RUNNING:
      return "running";
    case v1::Operation::STATE_SUCCEEDED:
      return "succeeded";
    case v1::Operation::STATE_FAILED:
      return "failed";
    default:
      return "?";
  }
}

std::string Outcome(const v1::Operation& operation) {
  if (operation.state() == v1::Operation::STATE_FAILED) {
    return absl::StrFormat("failed at %s: %s: %s", operation.error().step(),
                           CodeName(static_cast<grpc::StatusCode>(operation.error().code())), Printable(operation.error().message()));
  }
  if (operation.state() == v1::Operation::STATE_RUNNING) return "running: " + operation.step();
  if (operation.state() != v1::Operation::STATE_SUCCEEDED) return StateName(operation.state());
  if (operation.dry_run()) return operation.changed() ? "would be done" : "would change nothing";
  return operation.changed() ? "done: routable" : "nothing to do: everything was there already";
}

std::string Roles(const v1::Artifact& artifact) {
  std::string text;
  for (const int role : artifact.roles()) text += (text.empty() ? "" : ", ") + RoleText(static_cast<v1::RouterRole>(role), 0);
  return text.empty() ? "-" : text;
}

}  // namespace

std::string RoleText(v1::RouterRole role, double share) {
  const std::string name = role == v1::ROUTER_ROLE_STABLE   ? "stable"
                           : role == v1::ROUTER_ROLE_CANARY ? "canary"
                           : role == v1::ROUTER_ROLE_SHADOW ? "shadow"
                                                            : "?";
  return share > 0 ? absl::StrFormat("%s %g %%", name, 100 * share) : name;
}

std::string BytesText(int64_t bytes) {
  if (bytes < 10000) return absl::StrFormat("%d B", bytes);
  if (bytes < (int64_t{10000} << 10)) return absl::StrFormat("%.1f KiB", static_cast<double>(bytes) / 1024);
  return absl::StrFormat("%.1f MiB", static_cast<double>(bytes) / (1 << 20));
}

// Shares in per cent, or a dash without trials.
std::string DivergenceText(const v1::CatalogState::Divergence& d) {
  const auto share = [](uint64_t hits, uint64_t trials) {
    return trials == 0 ? std::string("-") : absl::StrFormat("%.1f %%", 100.0 * static_cast<double>(hits) / static_cast<double>(trials));
  };
  return absl::StrFormat(
      "against stable, %d requests: another best expert %s, another set %s, JS %s, other answers %s of %d; %d skipped, %d failed",
      d.compared(), share(d.best_changed(), d.decisions()), share(d.set_changed(), d.decisions()),
      d.has_js_nats() ? absl::StrFormat("%.4f nats", d.js_nats()) : std::string("-"), share(d.answer_flips(), d.answers()), d.answers(),
      d.skipped(), d.failed());
}

std::string StateView(const v1::CatalogState& state, const Style& style) {
  const std::string budget = state.budget_bytes() > 0 ? " of " + BytesText(state.budget_bytes()) : std::string();
  std::string text = absl::StrFormat("revision %d · base %s · resident %s%s · operations: %d done, %d failed, %d waiting\n\n",
                                     state.revision(), ShortGeneration(state.base_generation()), BytesText(state.resident_bytes()), budget,
                                     state.operations_succeeded(), state.operations_failed(), state.queued_operations());
  Table experts({{"expert", Align::kLeft}, {"generation", Align::kLeft}, {"bytes"}, {"rank"}, {"directory", Align::kLeft}});
  for (const v1::Artifact& e : state.experts()) {
    experts.AddRow({OneLine(e.name(), 40), e.is_zero() ? "the base itself (zero)" : ShortGeneration(e.generation()), BytesText(e.bytes()),
                    std::to_string(e.max_rank()), OneLine(e.directory(), 60)});
  }
  text += experts.Render(style);
  Table routers({{"router", Align::kLeft},
                 {"generation", Align::kLeft},
                 {"bytes"},
                 {"kind", Align::kLeft},
                 {"role", Align::kLeft},
                 {"directory", Align::kLeft}});
  for (const v1::Artifact& r : state.routers()) {
    routers.AddRow({OneLine(r.name(), 40), ShortGeneration(r.generation()), BytesText(r.bytes()), OneLine(r.router_kind(), 24), Roles(r),
                    OneLine(r.directory(), 60)});
  }
  if (state.routers_size() > 0) text += "\n" + routers.Render(style);
  if (state.roles_size() > 0) text += "\n";
  for (const v1::CatalogState::Role& role : state.roles()) {
    text += absl::StrFormat("%s: %s, snapshot %s\n  %s\n", style.Bold(RoleText(role.role(), role.share())), OneLine(role.router(), 40),
                            ShortGeneration(role.snapshot()), Printable(role.note()));
    if (role.has_divergence()) text += "  " + DivergenceText(role.divergence()) + "\n";
  }
  for (const std::string& problem : state.problems()) text += style.Red("left out at the start: ") + Printable(problem) + "\n";
  if (state.history_size() > 0) {
    text += "\nroll back to:";
    for (const v1::CatalogState::Past& past : state.history()) text += absl::StrFormat(" %d", past.revision());
    text += "\n";
  }
  return text;
}

std::string ArtifactView(const v1::Artifact& artifact, const Style& style) {
  const bool router = artifact.kind() == v1::ARTIFACT_KIND_ROUTER;
  Table figures({{router ? "router" : "expert", Align::kLeft}, {OneLine(artifact.name(), 60), Align::kLeft}});
  figures.AddRow({"generation", OneLine(artifact.generation())});
  figures.AddRow({"directory", OneLine(artifact.directory(), 80)});
  figures.AddRow({"bytes", BytesText(artifact.bytes())});
  if (!router) figures.AddRow({"rank", std::to_string(artifact.max_rank())});
  if (router) {
    figures.AddRow({"kind", absl::StrFormat("%s, top-%d", OneLine(artifact.router_kind(), 24), artifact.top_k())});
    figures.AddRow({"role", Roles(artifact)});
    figures.AddRow({"new experts", artifact.separable() ? "routed to at once (separable)" : "masked until a router names them"});
  }
  std::string text = figures.Render(style);
  if (router) {
    Table bound({{"#"}, {"made with", Align::kLeft}, {"generation", Align::kLeft}, {"now", Align::kLeft}});
    for (int i = 0; i < artifact.bound_size(); ++i) {
      const v1::Artifact::BoundExpert& expert = artifact.bound(i);
      bound.AddRow({std::to_string(i),
                    OneLine(expert.name(), 40),
                    ShortGeneration(expert.generation()),
                    {expert.served() ? "served" : "masked", !expert.served()}});
    }
    text += "\n" + bound.Render(style);
  }
  for (const std::string& note : artifact.notes()) text += Printable(note) + "\n";
  if (artifact.untrained()) text += style.Bold("Untrained:") + " says of itself that it is a fixture.\n";
  return text;
}

std::string OperationView(const v1::Operation& operation, const Style& style) {
  const bool failed = operation.state() == v1::Operation::STATE_FAILED;
  std::string text = absl::StrFormat("operation %d: %s\n", operation.id(), OneLine(operation.summary(), 120));
  if (!operation.requested_by().empty()) text += "  asked for by " + OneLine(operation.requested_by(), 120) + "\n";
  text += "  " + (failed ? style.Red(Outcome(operation)) : style.Bold(Outcome(operation))) + "\n";
  if (failed) text += "  what was served before is served still\n";
  if (operation.load_bytes() > 0 || operation.dry_run()) {
    const std::string budget = operation.budget_bytes() > 0 ? " of " + BytesText(operation.budget_bytes()) : std::string(", no budget");
    text += absl::StrFormat("  needs %s beside %s%s\n", BytesText(operation.load_bytes()), BytesText(operation.resident_bytes()), budget);
  }
  for (const std::string& note : operation.notes()) text += "  " + Printable(note) + "\n";
  if (operation.state() == v1::Operation::STATE_SUCCEEDED) text += absl::StrFormat("  revision %d\n", operation.revision());
  if (operation.retired_size() > 0) {
    text += absl::StrFormat("  retired: %s freed, %s until the last request on it ends\n", BytesText(operation.freed_bytes()),
                            BytesText(operation.retiring_bytes()));
  }
  std::string steps;
  for (const v1::Operation::Step& step : operation.steps())
    steps += absl::StrFormat("%s%s %.1f ms", steps.empty() ? "" : ", ", step.name(), step.ms());
  if (!steps.empty()) text += "  " + style.Dim(steps) + "\n";
  if (operation.state() < v1::Operation::STATE_SUCCEEDED)
    text += absl::StrFormat("  follow it: switchyard admin operation %d --wait 60\n", operation.id());
  return text;
}

std::string OperationsTable(const v1::ListOperationsResponse& operations, const Style& style) {
  Table table({{"id"}, {"at (UTC)", Align::kLeft}, {"what", Align::kLeft}, {"revision"}, {"retired"}, {"outcome", Align::kLeft}});
  for (const v1::Operation& operation : operations.operations()) {
    table.AddRow({std::to_string(operation.id()),
                  absl::FormatTime("%m-%d %H:%M:%S", absl::FromUnixMillis(operation.created_unix_ms()), absl::UTCTimeZone()),
                  OneLine(operation.summary(), 40),
                  std::to_string(operation.revision()),
                  BytesText(operation.freed_bytes() + operation.retiring_bytes()),
                  {OneLine(Outcome(operation), 90), operation.state() == v1::Operation::STATE_FAILED}});
  }
  return table.Render(style);
}

}  // namespace switchyard::client
