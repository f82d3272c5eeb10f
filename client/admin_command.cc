#include "client/admin_command.h"

#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "client/admin_view.h"
#include "client/proto_json.h"

namespace switchyard::client {
namespace {

StatusOr<std::pair<std::string, std::string>> NameAndValue(const std::string& text, const char* flag, const char* value) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
    return InvalidArgument("%s: expected NAME=%s, found \"%s\"", flag, value, text);
  }
  return std::pair{text.substr(0, equals), text.substr(equals + 1)};
}

StatusOr<v1::RouterRole> RoleOf(const std::string& name) {
  if (name == "stable") return v1::ROUTER_ROLE_STABLE;
  if (name == "canary") return v1::ROUTER_ROLE_CANARY;
  if (name == "shadow") return v1::ROUTER_ROLE_SHADOW;
  return InvalidArgument("--role: expected stable, canary or shadow, found \"%s\"", name);
}

}  // namespace

CLI::App* AdminCommand::AddTo(CLI::App& app) {
  CLI::App* admin = app.add_subcommand("admin", "Change what is served while requests run");
  admin->require_subcommand(1);
  AddLoads(*admin);
  AddOthers(*admin);
  AddReads(*admin);
  return admin;
}

CLI::App* AdminCommand::AddVerb(CLI::App& admin, const char* name, const char* what, std::function<ExitCode(CommandEnvironment&)> run) {
  CLI::App* verb = admin.add_subcommand(name, what);
  verb->add_flag("--json", json_, "Print the reply as one line of proto3 JSON");
  AddAdminConnectionFlags(*verb, &connection_);
  verbs_.push_back({verb, std::move(run)});
  return verb;
}

CLI::App* AdminCommand::AddChange(CLI::App& admin, const char* name, const char* what, MakeFn make) {
  CLI::App* verb =
      AddVerb(admin, name, what, [this, make = std::move(make)](CommandEnvironment& environment) { return Apply(environment, make); });
  verb->add_option("--expect-revision", expected_revision_, "Refuse when the catalog is not at this revision")->type_name("N");
  verb->add_flag("--dry-run", dry_run_, "Only say whether it would succeed: bytes, fit and compatibility");
  verb->add_flag("--allow-masking", allow_masking_, "Accept a router that misses some of its experts: they are masked");
  verb->add_option("--wait", wait_s_, "Wait this long for the end; 0: answer at once")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.0, 600.0).description(""))
      ->capture_default_str();
  return verb;
}

void AdminCommand::AddArtifactFlags(CLI::App& verb, const char* form, const char* expert, const char* router) {
  verb.add_option("--expert", experts_, expert)->type_name(form);
  verb.add_option("--router", routers_, router)->type_name(form);
  verb.add_option("--expect-generation", expected_generation_,
                  "With one name: refuse when it does not hold this generation now (\"\": nothing)")
      ->type_name("HASH");
}

void AdminCommand::AddLoads(CLI::App& admin) {
  const auto add = [&](const char* name, const char* what, bool replace) {
    CLI::App* verb = AddChange(admin, name, what, [=, this](v1::ApplyRequest* request) { return MakeLoad(replace, request); });
    AddArtifactFlags(*verb, "NAME=DIRECTORY", "A PEFT directory below the server's artifact root; may be repeated",
                     "A router artifact; may be repeated");
    verb->add_option("--zero", zero_, "The zero expert under this name")->type_name("NAME");
    verb->add_option("--role", role_, "Give the (one) router a role in the same change: stable, canary, shadow")->type_name("ROLE");
    verb->add_option("--share", share_, "Of a canary or shadow, 0 to 1")->type_name("SHARE");
  };
  add("load", "Load experts and routers under new names", false);
  add("replace", "Put other content under names that are there", true);
}

void AdminCommand::AddOthers(CLI::App& admin) {
  CLI::App* unload = AddChange(admin, "unload", "Take names away; memory is freed after the last request on them",
                               [this](v1::ApplyRequest* request) { return MakeUnload(request); });
  AddArtifactFlags(*unload, "NAME", "An expert; may be repeated", "A router without a role; may be repeated");
  CLI::App* alias = AddChange(admin, "alias", "Point a name to what another name holds",
                              [this](v1::ApplyRequest* request) { return MakeAlias(request); });
  AddArtifactFlags(*alias, "NAME=TARGET", "An expert's name and the one it shall equal; may be repeated", "The same of routers");
  for (const auto& [name, role, what] :
       {std::tuple{"stable", v1::ROUTER_ROLE_STABLE, "Let a loaded router answer"},
        std::tuple{"canary", v1::ROUTER_ROLE_CANARY, "Let a loaded router answer a share of request keys"},
        std::tuple{"shadow", v1::ROUTER_ROLE_SHADOW, "Compute a loaded router beside a share of requests and compare; it never answers"}}) {
    CLI::App* verb = AddChange(admin, name, what, [this, role = role](v1::ApplyRequest* request) { return MakeRole(role, request); });
    verb->add_option("router", router_, "The router's name")->type_name("ROUTER");
    verb->add_flag("--off", off_, "Take the role away instead");
    if (role != v1::ROUTER_ROLE_STABLE) verb->add_option("--share", share_, "0 to 1")->type_name("SHARE");
  }
  AddChange(admin, "promote", "The canary becomes stable", [](v1::ApplyRequest* request) {
    request->add_changes()->mutable_promote();
    return OkStatus();
  });
  AddChange(admin, "rollback", "Back to an earlier revision",
            [this](v1::ApplyRequest* request) {
              v1::RollBackChange* change = request->add_changes()->mutable_roll_back();
              if (revision_) change->set_revision(*revision_);
              return OkStatus();
            })
      ->add_option("--to", revision_, "Which one; default: the one before the present")
      ->type_name("REVISION");
}

void AdminCommand::AddReads(CLI::App& admin) {
  AddVerb(admin, "list", "What is held: names, generations, roles, history", [this](CommandEnvironment& environment) {
    v1::CatalogState state;
    const grpc::Status status = AdminConnection(connection_).List(&state);
    if (!status.ok()) return FailAdmin(environment.terminal, status, connection_);
    environment.terminal.out << (json_ ? ToJsonLine(state) + "\n" : StateView(state, environment.terminal.out_style)) << std::flush;
    return kExitOk;
  });
  CLI::App* describe = AddVerb(admin, "describe", "One expert or router", [this](CommandEnvironment& environment) {
    v1::DescribeRequest request;
    request.set_kind(kind_ == "expert" ? v1::ARTIFACT_KIND_EXPERT : v1::ARTIFACT_KIND_ROUTER);
    request.set_name(name_);
    v1::Artifact artifact;
    const grpc::Status status = AdminConnection(connection_).Describe(request, &artifact);
    if (!status.ok()) return FailAdmin(environment.terminal, status, connection_);
    environment.terminal.out << (json_ ? ToJsonLine(artifact) + "\n" : ArtifactView(artifact, environment.terminal.out_style))
                             << std::flush;
    return kExitOk;
  });
  describe->add_option("kind", kind_, "expert or router")->required()->check(CLI::IsMember({"expert", "router"}))->type_name("KIND");
  describe->add_option("name", name_, "Its name")->required()->type_name("NAME");
  AddVerb(
      admin, "operations", "The latest operations, newest first",
      [this](CommandEnvironment& environment) {
        v1::ListOperationsResponse operations;
        const grpc::Status status = AdminConnection(connection_).ListOperations(limit_, &operations);
        if (!status.ok()) return FailAdmin(environment.terminal, status, connection_);
        environment.terminal.out << (json_ ? ToJsonLine(operations) + "\n" : OperationsTable(operations, environment.terminal.out_style))
                                 << std::flush;
        return kExitOk;
      })
      ->add_option("--limit", limit_, "How many; 0: all that are remembered")
      ->capture_default_str();
  CLI::App* operation = AddVerb(admin, "operation", "One operation; waits for its end",
                                [this](CommandEnvironment& environment) { return ShowOperation(environment); });
  operation->add_option("id", id_, "Its number")->required()->type_name("ID");
  operation->add_option("--wait", wait_s_, "Wait this long for its end")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.0, 600.0).description(""))
      ->capture_default_str();
}

ExitCode AdminCommand::Run(CommandEnvironment& environment) {
  for (const Verb& verb : verbs_) {
    if (verb.parser->parsed()) return verb.run(environment);
  }
  return kExitUsage;
}

// ---------------------------------------------------------------------------------------------------------------- requests

Status AdminCommand::MakeLoad(bool replace, v1::ApplyRequest* request) const {
  const auto add = [&](v1::ArtifactKind kind, const std::string& name, const std::string& directory) {
    v1::LoadChange* load = request->add_changes()->mutable_load();
    load->set_kind(kind);
    load->set_name(name);
    load->set_directory(directory);
    load->set_replace(replace);
    if (expected_generation_) load->set_expected_generation(*expected_generation_);
  };
  std::string last_router;
  for (const std::string& text : experts_) {
    ASSIGN_OR_RETURN(const auto expert, NameAndValue(text, "--expert", "DIRECTORY"));
    add(v1::ARTIFACT_KIND_EXPERT, expert.first, expert.second);
  }
  if (!zero_.empty()) add(v1::ARTIFACT_KIND_EXPERT, zero_, "");
  for (const std::string& text : routers_) {
    ASSIGN_OR_RETURN(const auto router, NameAndValue(text, "--router", "DIRECTORY"));
    add(v1::ARTIFACT_KIND_ROUTER, router.first, router.second);
    last_router = router.first;
  }
  if (request->changes_size() == 0) return InvalidArgument("nothing to load: give --expert NAME=DIRECTORY or --router NAME=DIRECTORY");
  if (expected_generation_ && request->changes_size() > 1)
    return InvalidArgument("--expect-generation needs exactly one --expert or --router");
  if (role_.empty()) return OkStatus();
  if (routers_.size() != 1) return InvalidArgument("--role needs exactly one --router, found %d", routers_.size());
  ASSIGN_OR_RETURN(const v1::RouterRole role, RoleOf(role_));
  return AddRole(role, last_router, request);
}

Status AdminCommand::AddRole(v1::RouterRole role, const std::string& router, v1::ApplyRequest* request) const {
  if (role != v1::ROUTER_ROLE_STABLE && !router.empty() && !(share_ > 0 && share_ <= 1)) {
    return InvalidArgument("--share: expected more than 0 and at most 1, found %g", share_);
  }
  v1::RoleChange* change = request->add_changes()->mutable_role();
  change->set_role(role);
  change->set_router(router);
  change->set_share(share_);
  return OkStatus();
}

Status AdminCommand::MakeRole(v1::RouterRole role, v1::ApplyRequest* request) const {
  if (off_ != router_.empty()) return InvalidArgument("expected either a ROUTER or --off");
  return AddRole(role, router_, request);
}

Status AdminCommand::MakeUnload(v1::ApplyRequest* request) const {
  for (const auto& [kind, names] : {std::pair{v1::ARTIFACT_KIND_EXPERT, &experts_}, std::pair{v1::ARTIFACT_KIND_ROUTER, &routers_}}) {
    for (const std::string& name : *names) {
      v1::UnloadChange* unload = request->add_changes()->mutable_unload();
      unload->set_kind(kind);
      unload->set_name(name);
      if (expected_generation_) unload->set_expected_generation(*expected_generation_);
    }
  }
  if (request->changes_size() == 0) return InvalidArgument("nothing to unload: give --expert NAME or --router NAME");
  if (expected_generation_ && request->changes_size() > 1)
    return InvalidArgument("--expect-generation needs exactly one --expert or --router");
  return OkStatus();
}

Status AdminCommand::MakeAlias(v1::ApplyRequest* request) const {
  for (const auto& [kind, flag, texts] :
       {std::tuple{v1::ARTIFACT_KIND_EXPERT, "--expert", &experts_}, std::tuple{v1::ARTIFACT_KIND_ROUTER, "--router", &routers_}}) {
    for (const std::string& text : *texts) {
      ASSIGN_OR_RETURN(const auto names, NameAndValue(text, flag, "TARGET"));
      v1::AliasChange* alias = request->add_changes()->mutable_alias();
      alias->set_kind(kind);
      alias->set_name(names.first);
      alias->set_target(names.second);
      if (expected_generation_) alias->set_expected_generation(*expected_generation_);
    }
  }
  if (request->changes_size() == 0) return InvalidArgument("nothing to point: give --expert NAME=TARGET or --router NAME=TARGET");
  if (expected_generation_ && request->changes_size() > 1)
    return InvalidArgument("--expect-generation needs exactly one --expert or --router");
  return OkStatus();
}

// ---------------------------------------------------------------------------------------------------------------- calls

ExitCode AdminCommand::Apply(CommandEnvironment& environment, const MakeFn& make) {
  v1::ApplyRequest request;
  if (const Status status = make(&request); !status.ok()) return Fail(environment.terminal, status);
  request.set_allow_masking(allow_masking_);
  request.set_dry_run(dry_run_);
  request.set_wait_ms(static_cast<uint32_t>(wait_s_ * 1000));
  if (expected_revision_) request.set_expected_revision(*expected_revision_);
  v1::Operation operation;
  const grpc::Status status = AdminConnection(connection_).Apply(request, &operation);
  if (!status.ok()) return FailAdmin(environment.terminal, status, connection_);
  return Show(environment, operation);
}

ExitCode AdminCommand::ShowOperation(CommandEnvironment& environment) {
  v1::GetOperationRequest request;
  request.set_id(id_);
  request.set_wait_ms(static_cast<uint32_t>(wait_s_ * 1000));
  v1::Operation operation;
  const grpc::Status status = AdminConnection(connection_).GetOperation(request, &operation);
  if (!status.ok()) return FailAdmin(environment.terminal, status, connection_);
  return Show(environment, operation);
}

ExitCode AdminCommand::Show(CommandEnvironment& environment, const v1::Operation& operation) const {
  environment.terminal.out << (json_ ? ToJsonLine(operation) + "\n" : OperationView(operation, environment.terminal.out_style))
                           << std::flush;
  if (operation.state() == v1::Operation::STATE_FAILED) return kExitRefused;
  // Success means success: one that was to be waited for and has not ended is none.
  return operation.state() == v1::Operation::STATE_SUCCEEDED || wait_s_ == 0 ? kExitOk : kExitRefused;
}

}  // namespace switchyard::client
