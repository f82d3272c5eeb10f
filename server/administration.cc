#include "server/administration.h"

#include <filesystem>
#include <string>
#include <utility>

#include "server/log.h"
#include "server/warm_up.h"

namespace switchyard {
namespace {

// The command line's paths are the operator's own: absolute in the catalog, wherever they are.
std::string Absolute(const std::string& directory) {
  return directory.empty() ? "" : std::filesystem::absolute(directory).lexically_normal().string();
}

StatusOr<CatalogContent> InitialContent(const RunnerOptions& options, SnapshotBuilder& builder) {
  CatalogContent content;
  for (const RunnerOptions::Expert& expert : options.experts) content.experts.push_back({expert.name, Absolute(expert.directory), ""});
  if (options.router_directory.empty()) return content;
  ASSIGN_OR_RETURN(const RouterInfo router, builder.InspectRouter(options.router_directory));
  content.routers.push_back({router.name, Absolute(options.router_directory), ""});
  content.stable = {router.name, 0};
  return content;
}

}  // namespace

namespace {

void LogOperation(const Operation& operation) {
  nlohmann::ordered_json fields = {
      {"operation", operation.id},           {"summary", operation.summary}, {"requested_by", operation.requested_by},
      {"state", StateName(operation.state)}, {"changed", operation.changed}, {"revision", operation.revision}};
  if (!operation.error.ok()) {
    fields["step"] = StepName(operation.step);
    fields["code"] = absl::StatusCodeToString(operation.error.code());
    fields["message"] = std::string(Message(operation.error));
  }
  Log(operation.error.ok() ? LogLevel::kInfo : LogLevel::kWarning, "catalog operation", std::move(fields));
}

// What a crossed bound leads to: an operation like an administrator's, valid only for what the bound was crossed on.
void TakeRoleAway(Catalog& catalog, RouterRole role, uint64_t revision, const std::string& reason, DivergenceWatch::Settled settled) {
  ChangeRequest request;
  request.changes = {RoleChange{role, "", 0}};
  request.expected_revision = revision;
  request.reason = "automatic: " + reason;
  request.requested_by = "this server";
  request.ended = [settled](const Status& status) { settled(status.ok()); };
  const auto id = catalog.Submit(std::move(request));
  nlohmann::ordered_json fields = {{"role", RoleName(role)}, {"revision", revision}, {"reason", reason}};
  if (id.ok()) fields["operation"] = *id;
  if (!id.ok()) {
    fields["message"] = std::string(Message(id.status()));
    settled(false);
  }
  Log(LogLevel::kWarning, "automatic rollback", std::move(fields));
}

}  // namespace

StatusOr<std::unique_ptr<Administration>> Administration::Start(const ServerOptions& options, SnapshotBuilder* builder, Engine* engine,
                                                                Catalog::PublishFn publish) {
  CatalogContent initial;
  // Not even looked at when the state file is there: its artifacts may be gone by now.
  const bool has_state = !options.catalog.state_file.empty() && std::filesystem::exists(options.catalog.state_file);
  if (!has_state) {
    ASSIGN_OR_RETURN(initial, InitialContent(options.runner, *builder));
  }
  CatalogOptions catalog = options.catalog;
  catalog.ended = LogOperation;
  catalog.warm = [engine](const ServingSet& next) { return WarmUp(*engine, next); };
  std::unique_ptr<Administration> administration(new Administration());
  ASSIGN_OR_RETURN(administration->catalog_, Catalog::Create(catalog, builder, initial, std::move(publish)));
  administration->divergence_ = std::make_unique<DivergenceWatch>(
      options.divergence, engine,
      [catalog = administration->catalog_.get()](RouterRole role, uint64_t revision, const std::string& reason,
                                                 DivergenceWatch::Settled settled) {
        TakeRoleAway(*catalog, role, revision, reason, std::move(settled));
      });
  const CatalogView view = administration->catalog_->Describe();
  for (const std::string& problem : view.problems) Log(LogLevel::kError, "left out", {{"problem", problem}});
  for (const std::string& note : view.role_notes) Log(LogLevel::kInfo, "router", {{"note", note}});
  if (!options.admin.empty()) {
    ASSIGN_OR_RETURN(administration->admin_, AdminServer::Start({options.admin, options.tls, options.gate.tokens, options.reflection},
                                                                *administration->catalog_, *engine, administration->divergence_.get()));
  }
  return administration;
}

void Administration::Stop() {
  admin_.reset();
  if (catalog_ != nullptr) catalog_->Stop();
}

}  // namespace switchyard
