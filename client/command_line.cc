#include "client/command_line.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "client/admin_command.h"
#include "client/eval_command.h"
#include "client/generate_command.h"
#include "client/model_command.h"
#include "client/route_command.h"
#include "client/score_command.h"
#include "client/top_command.h"

namespace switchyard::client {
namespace {

constexpr const char* kFooter =
    "The server is --server HOST:PORT of each command, or the environment variable SWITCHYARD_SERVER;\n"
    "for admin and top it is the admin port, or SWITCHYARD_ADMIN.\n"
    "`switchyard COMMAND --help` tells the rest.\n"
    "\n"
    "Exit codes: 0 done; 1 done, but some lines or questions failed; 2 wrong arguments or files;\n"
    "3 the server cannot be reached; 4 the server refused the request.";

}  // namespace

ExitCode RunCommandLine(std::vector<std::string> arguments, CommandEnvironment& environment) {
  CLI::App app("Talks to a Switchyard server: one language model as a mixture of experts.", "switchyard");
  app.footer(kFooter);
  app.require_subcommand(1);
  std::vector<std::unique_ptr<Command>> commands;
  commands.push_back(std::make_unique<GenerateCommand>());
  commands.push_back(std::make_unique<ScoreCommand>());
  commands.push_back(std::make_unique<EvalCommand>());
  commands.push_back(std::make_unique<RouteCommand>());
  commands.push_back(std::make_unique<ModelCommand>());
  commands.push_back(std::make_unique<AdminCommand>());
  commands.push_back(std::make_unique<TopCommand>());
  std::vector<std::pair<CLI::App*, Command*>> parsers;
  for (const auto& command : commands) parsers.emplace_back(command->AddTo(app), command.get());

  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error, environment.terminal.out, environment.terminal.err);
    return code == 0 ? kExitOk : kExitUsage;
  }
  for (const auto& [parser, command] : parsers) {
    if (parser->parsed()) return command->Run(environment);
  }
  return kExitUsage;
}

}  // namespace switchyard::client
