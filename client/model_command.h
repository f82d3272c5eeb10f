// `switchyard model`: what the server serves.
#pragma once

#include <string>

#include "client/command.h"
#include "client/connection.h"
#include "client/terminal.h"

namespace switchyard::client {

// The figures of the base, the router and the experts with their generations.
std::string ModelTable(const v1::GetModelResponse& model, const Style& style);

class ModelCommand : public Command {
 public:
  CLI::App* AddTo(CLI::App& app) override;
  ExitCode Run(CommandEnvironment& environment) override;

 private:
  ConnectionOptions connection_;
  bool json_ = false;
};

}  // namespace switchyard::client
