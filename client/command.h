// A subcommand of `switchyard`: its options, and what it does with them.
#pragma once

#include <istream>
#include <string>

#include "CLI/App.hpp"
#include "client/connection.h"
#include "client/exit_code.h"
#include "client/retry.h"
#include "client/rpc_error.h"
#include "client/terminal.h"
#include "engine/base/status.h"
#include "grpcpp/support/status.h"

namespace switchyard::client {

// What a command works in: the process', or a test's. Borrowed, must outlive the run.
struct CommandEnvironment {
  std::istream& in;
  Terminal& terminal;
  RetryPolicy retry;  // its count comes from --retries
};

// Made once, run at most once, on one thread.
class Command {
 public:
  virtual ~Command() = default;
  // Declares the subcommand and its options; they are stored in this object, which must outlive the app.
  virtual CLI::App* AddTo(CLI::App& app) = 0;
  // Blocks until done. Everything that goes wrong is printed here.
  virtual ExitCode Run(CommandEnvironment& environment) = 0;
};

// "switchyard: message" on the error stream, and `code` back.
ExitCode Fail(Terminal& terminal, const std::string& message, ExitCode code = kExitUsage);
ExitCode Fail(Terminal& terminal, const Status& status);
ExitCode Fail(Terminal& terminal, const grpc::Status& status, const ConnectionOptions& options);

}  // namespace switchyard::client
