#include "client/generate_command.h"

#include <charconv>
#include <string>
#include <system_error>
#include <utility>

#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "client/generate_view.h"
#include "client/proto_json.h"
#include "client/route_view.h"
#include "client/routing_option.h"
#include "client/screen_text.h"
#include "engine/mcq/utf8.h"

namespace switchyard::client {

CLI::App* GenerateCommand::AddTo(CLI::App& app) {
  CLI::App* command = app.add_subcommand("generate", "Generate text, streamed as it comes");
  command->footer(
      "Examples:\n"
      "  switchyard generate --chat \"What is a tort?\"\n"
      "  switchyard generate --temperature 0.8 --top-p 0.95 --seed 7 --stop \"The end\" \"Once upon a time\"\n"
      "  switchyard generate --routing expert=law --routes layer \"The court held that\"\n"
      "  switchyard generate --input requests.jsonl --output replies.jsonl\n"
      "The text goes to standard output, the closing line with its figures to standard error.");
  single_ = prompt_.AddTo(*command);
  AddSampling(*command);
  single_.push_back(command->add_option("--logprobs", logprobs_, "Log-probability of each token, and the N most likely beside it")
                        ->type_name("N")
                        ->check(CLI::Range(0, 20).description("")));
  for (CLI::Option* option : routing_.AddTo(*command)) single_.push_back(option);
  single_.push_back(command->add_option("--routes", routes_, "Show the routes taken: none, summary, layer or token")
                        ->type_name("LEVEL")
                        ->capture_default_str()
                        ->group("Routing"));
  single_.push_back(command->add_flag("--json", json_, "Print the whole reply as one line of proto3 JSON at the end"));
  batch_.AddTo(*command, "GenerateRequest");
  AddConnectionFlags(*command, &connection_);
  return command;
}

void GenerateCommand::AddSampling(CLI::App& app) {
  const std::string group = "Sampling";
  const auto add = [&](CLI::Option* option, const char* type) { single_.push_back(option->type_name(type)->group(group)); };
  single_.push_back(app.add_option("--max-tokens", max_tokens_, "Stop after this many tokens")
                        ->type_name("N")
                        ->check(CLI::Range(1, 1 << 24).description(""))
                        ->capture_default_str()
                        ->group(group));
  add(app.add_option("--temperature", temperature_, "0 is greedy (default: the model's own setting, else 0)"), "T");
  add(app.add_option("--top-k", top_k_, "Only the K most likely tokens; 0: all"), "K");
  add(app.add_option("--top-p", top_p_, "Only the most likely tokens that make up this probability"), "P");
  add(app.add_option("--min-p", min_p_, "Only tokens at least this likely, relative to the likeliest"), "P");
  add(app.add_option("--repetition-penalty", repetition_penalty_, "Above 1: tokens seen before become less likely"), "X");
  const CLI::Validator whole(  // strtoull, which reads the number, takes -1 and 2^64 for the largest there is
      [](std::string& text) {
        uint64_t value = 0;
        const char* end = text.data() + text.size();
        const auto parsed = std::from_chars(text.data(), end, value);
        const bool good = parsed.ec == std::errc() && parsed.ptr == end;
        return good ? "" : "expected a whole number from 0 to 2^64 - 1, found " + text;
      },
      "");
  add(app.add_option("--seed", seed_, "Repeat a sampled answer (default: random, and reported)")->check(whole), "N");
  add(app.add_option("--stop", stop_, "End before this text; may be given several times")->allow_extra_args(false), "TEXT");
  single_.push_back(app.add_flag("--ignore-eos", ignore_eos_, "Go on after the model's end token")->group(group));
  single_.push_back(
      app.add_flag("--truncate", truncate_, "Drop the oldest tokens of a prompt that is too long, instead of an error")->group(group));
}

StatusOr<v1::GenerateRequest> GenerateCommand::MakeRequest(std::istream& in) const {
  v1::GenerateRequest request;
  RETURN_IF_ERROR(ApplyPrompt(prompt_, in, &request));
  RETURN_IF_ERROR(ApplyRouting(routing_, &request));
  ASSIGN_OR_RETURN(const v1::RouteLevel level, ParseRouteLevel(routes_));
  request.set_routes(level);
  request.set_max_tokens(max_tokens_);
  request.set_ignore_eos(ignore_eos_);
  request.set_truncate_prompt(truncate_);
  v1::Sampling& sampling = *request.mutable_sampling();
  if (temperature_) sampling.set_temperature(*temperature_);
  if (top_k_) sampling.set_top_k(*top_k_);
  if (top_p_) sampling.set_top_p(*top_p_);
  if (min_p_) sampling.set_min_p(*min_p_);
  if (repetition_penalty_) sampling.set_repetition_penalty(*repetition_penalty_);
  if (seed_) sampling.set_seed(*seed_);
  if (logprobs_) request.set_logprobs(*logprobs_);
  for (const std::string& stop : stop_) {
    if (!IsValidUtf8(stop)) return InvalidArgument("--stop: the text is not UTF-8");
    request.add_stop(stop);
  }
  return request;
}

ExitCode GenerateCommand::Run(CommandEnvironment& environment) {
  if (batch_.given()) {
    Connection connection(connection_);
    const BatchMethod method = {&v1::GenerateRequest::default_instance(), &v1::GenerateResponse::default_instance(),
                                [&](const google::protobuf::Message& request, google::protobuf::Message* response) {
                                  return connection.Generate(static_cast<const v1::GenerateRequest&>(request),
                                                             static_cast<v1::GenerateResponse*>(response));
                                }};
    return RunBatchCommand(batch_, single_, method, connection_, environment);
  }
  if (single_.front()->count() == 0)
    return Fail(environment.terminal, "generate needs a PROMPT (or - for standard input), or --input FILE.jsonl");
  const StatusOr<v1::GenerateRequest> request = MakeRequest(environment.in);
  if (!request.ok()) return Fail(environment.terminal, request.status());
  return RunOne(*request, environment);
}

ExitCode GenerateCommand::RunOne(const v1::GenerateRequest& request, CommandEnvironment& environment) {
  Terminal& terminal = environment.terminal;
  Connection connection(connection_);
  v1::GenerateResponse whole;
  const grpc::Status status = connection.Generate(request, &whole, [&](const v1::GenerateResponse& piece) {
    if (!json_) terminal.out << (terminal.out_is_tty ? Printable(piece.text()) : piece.text()) << std::flush;
  });
  if (!json_ && !whole.text().empty() && whole.text().back() != '\n') terminal.out << "\n" << std::flush;
  if (!status.ok()) return Fail(terminal, status, connection_);
  if (json_) {
    terminal.out << ToJsonLine(whole) << std::endl;
    return kExitOk;
  }
  if (whole.logprobs_size() > 0) terminal.out << "\n" << LogProbTable(whole, terminal.out_style);
  const v1::GenerateResponse::Finish& finish = whole.finish();
  if (finish.has_routes()) {
    terminal.out << "\n" << RoutesView(finish.routes(), finish.generations(), terminal.out_style, terminal.columns);
  }
  terminal.out << std::flush;
  terminal.err << terminal.err_style.Dim(FinishLine(finish)) << std::endl;
  return kExitOk;
}

}  // namespace switchyard::client
