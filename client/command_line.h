// The command line of `switchyard`: parses it and runs one command.
#pragma once

#include <string>
#include <vector>

#include "client/command.h"

namespace switchyard::client {

// `arguments` without the program's name. Blocks until the command is done and returns what the process should (exit_code.h).
ExitCode RunCommandLine(std::vector<std::string> arguments, CommandEnvironment& environment);

}  // namespace switchyard::client
