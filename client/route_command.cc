#include "client/route_command.h"

#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "absl/strings/str_format.h"
#include "client/generate_view.h"
#include "client/proto_json.h"
#include "client/route_view.h"
#include "client/routing_option.h"
#include "engine/mcq/utf8.h"

namespace switchyard::client {

CLI::App* RouteCommand::AddTo(CLI::App& app) {
  CLI::App* command = app.add_subcommand("route", "Show which experts the tokens of a prompt take");
  command->footer(
      "Examples:\n"
      "  switchyard route \"The patient's plasma sodium\"\n"
      "  switchyard route --level token --chat \"What is a tort?\" --given \"A tort is a civil wrong.\"\n"
      "  switchyard route --input requests.jsonl --output routes.jsonl");
  single_ = prompt_.AddTo(*command);
  single_.push_back(command->add_option("--level", level_, "summary, layer (a layer × expert heat map) or token")
                        ->type_name("LEVEL")
                        ->capture_default_str());
  single_.push_back(command->add_option("--given", given_, "Text that follows the prompt: the routes of an answer")->type_name("TEXT"));
  single_.push_back(command->add_flag("--json", json_, "Print the reply as one line of proto3 JSON"));
  for (CLI::Option* option : routing_.AddTo(*command)) single_.push_back(option);
  batch_.AddTo(*command, "RouteRequest");
  AddConnectionFlags(*command, &connection_);
  return command;
}

StatusOr<v1::RouteRequest> RouteCommand::MakeRequest(std::istream& in) const {
  v1::RouteRequest request;
  RETURN_IF_ERROR(ApplyPrompt(prompt_, in, &request));
  RETURN_IF_ERROR(ApplyRouting(routing_, &request));
  ASSIGN_OR_RETURN(const v1::RouteLevel level, ParseRouteLevel(level_));
  if (level == v1::ROUTE_LEVEL_NONE) return InvalidArgument("--level: expected summary, layer or token, found \"none\"");
  if (!IsValidUtf8(given_)) return InvalidArgument("--given: the text is not UTF-8");
  request.set_level(level);
  request.set_given_text(given_);
  return request;
}

ExitCode RouteCommand::Run(CommandEnvironment& environment) {
  Terminal& terminal = environment.terminal;
  Connection connection(connection_);
  if (batch_.given()) {
    const BatchMethod method = {&v1::RouteRequest::default_instance(), &v1::RouteResponse::default_instance(),
                                [&](const google::protobuf::Message& request, google::protobuf::Message* response) {
                                  return connection.Route(static_cast<const v1::RouteRequest&>(request),
                                                          static_cast<v1::RouteResponse*>(response));
                                }};
    return RunBatchCommand(batch_, single_, method, connection_, environment);
  }
  if (single_.front()->count() == 0) return Fail(terminal, "route needs a PROMPT (or - for standard input), or --input FILE.jsonl");
  const StatusOr<v1::RouteRequest> request = MakeRequest(environment.in);
  if (!request.ok()) return Fail(terminal, request.status());
  v1::RouteResponse response;
  const grpc::Status status = connection.Route(*request, &response);
  if (!status.ok()) return Fail(terminal, status, connection_);
  if (json_) {
    terminal.out << ToJsonLine(response) << std::endl;
    return kExitOk;
  }
  terminal.out << RoutesView(response.routes(), response.generations(), terminal.out_style, terminal.columns) << std::flush;
  terminal.err << terminal.err_style.Dim(absl::StrFormat("%d tokens · %.0f ms · generation %s", response.usage().prompt_tokens(),
                                                         response.timings().total_ms(), ShortGeneration(response.generations().snapshot())))
               << std::endl;
  return kExitOk;
}

}  // namespace switchyard::client
