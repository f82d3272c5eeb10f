// `switchyard admin ...`: what is served, and how it changes.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/admin_connection.h"
#include "client/command.h"

namespace switchyard::client {

class AdminCommand : public Command {
 public:
  CLI::App* AddTo(CLI::App& app) override;
  ExitCode Run(CommandEnvironment& environment) override;

 private:
  // Fills a request from the flags; INVALID_ARGUMENT says which is wrong.
  using MakeFn = std::function<Status(v1::ApplyRequest*)>;
  struct Verb {
    CLI::App* parser;
    std::function<ExitCode(CommandEnvironment&)> run;
  };

  CLI::App* AddVerb(CLI::App& admin, const char* name, const char* what, std::function<ExitCode(CommandEnvironment&)> run);
  CLI::App* AddChange(CLI::App& admin, const char* name, const char* what, MakeFn make);
  void AddArtifactFlags(CLI::App& verb, const char* form, const char* expert, const char* router);
  void AddLoads(CLI::App& admin);
  void AddOthers(CLI::App& admin);
  void AddReads(CLI::App& admin);

  Status MakeLoad(bool replace, v1::ApplyRequest* request) const;
  Status MakeUnload(v1::ApplyRequest* request) const;
  Status MakeAlias(v1::ApplyRequest* request) const;
  Status MakeRole(v1::RouterRole role, v1::ApplyRequest* request) const;
  Status AddRole(v1::RouterRole role, const std::string& router, v1::ApplyRequest* request) const;
  ExitCode Apply(CommandEnvironment& environment, const MakeFn& make);
  ExitCode ShowOperation(CommandEnvironment& environment);
  ExitCode Show(CommandEnvironment& environment, const v1::Operation& operation) const;

  ConnectionOptions connection_;
  std::vector<Verb> verbs_;
  bool json_ = false, allow_masking_ = false, dry_run_ = false, off_ = false;
  std::vector<std::string> experts_, routers_;
  std::string zero_, role_, router_, kind_, name_;
  std::optional<std::string> expected_generation_;
  std::optional<uint64_t> expected_revision_, revision_;
  double share_ = 0, wait_s_ = 60;
  uint64_t id_ = 0;
  uint32_t limit_ = 20;
};

}  // namespace switchyard::client
