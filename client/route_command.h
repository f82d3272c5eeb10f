// `switchyard route`: which experts the tokens of a prompt take, without generating.
#pragma once

#include <string>
#include <vector>

#include "client/command.h"
#include "client/connection.h"
#include "client/flags.h"

namespace switchyard::client {

class RouteCommand : public Command {
 public:
  CLI::App* AddTo(CLI::App& app) override;
  ExitCode Run(CommandEnvironment& environment) override;

 private:
  StatusOr<v1::RouteRequest> MakeRequest(std::istream& in) const;

  ConnectionOptions connection_;
  PromptFlags prompt_;
  RoutingFlags routing_;
  BatchFlags batch_;
  std::string level_ = "layer";
  std::string given_;
  bool json_ = false;
  std::vector<CLI::Option*> single_;
};

}  // namespace switchyard::client
