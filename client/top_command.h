// `switchyard top`: what every expert does, live.
#pragma once

#include "client/admin_connection.h"
#include "client/command.h"

namespace switchyard::client {

class TopCommand : public Command {
 public:
  CLI::App* AddTo(CLI::App& app) override;
  // Until interrupted, or the frames asked for are shown. On a terminal each frame replaces the last; elsewhere they follow each other.
  ExitCode Run(CommandEnvironment& environment) override;

 private:
  ConnectionOptions connection_;
  bool once_ = false;
  double interval_s_ = 1;
  int frames_ = 0;
  uint32_t operations_ = 5;
};

}  // namespace switchyard::client
