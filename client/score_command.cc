#include "client/score_command.h"

#include <algorithm>
#include <cctype>

#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "absl/strings/str_format.h"
#include "client/generate_view.h"
#include "client/mcq_report.h"
#include "client/proto_json.h"
#include "client/score_view.h"
#include "engine/mcq/utf8.h"

namespace switchyard::client {
namespace {

bool IsBlankCharacter(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// The first of `options` that was given, or null.
const CLI::Option* FirstGiven(const std::vector<CLI::Option*>& options) {
  const auto found = std::find_if(options.begin(), options.end(), [](const CLI::Option* option) { return option->count() > 0; });
  return found == options.end() ? nullptr : *found;
}

}  // namespace

CLI::App* ScoreCommand::AddTo(CLI::App& app) {
  CLI::App* command = app.add_subcommand("score", "Log-probabilities of continuations, and multiple-choice files");
  command->footer(
      "Examples:\n"
      "  switchyard score --context \"The capital of France is\" --choice Paris --choice Rome\n"
      "  switchyard score --mcq medmcqa_test.jsonl --limit 200 --output figures.jsonl\n"
      "  switchyard score --mcq mmlu/test --routing base\n"
      "  switchyard score --input requests.jsonl --output replies.jsonl\n"
      "With --mcq, --output is written anew; with --input, a file begun earlier is continued.");
  AddSingle(*command);
  AddMcq(*command);
  shared_options_ = routing_.AddTo(*command);
  shared_options_.push_back(command->add_option("--boundary", boundary_, "Where context and continuation meet: lm-eval or joint")
                                ->type_name("RULE")
                                ->capture_default_str());
  shared_options_.push_back(
      command->add_flag("--truncate", truncate_, "Drop the oldest tokens of a context that is too long, instead of an error"));
  shared_options_.push_back(command->add_flag("--json", json_, "Print the result as one line of JSON"));
  command->add_option("--output", batch_.output, "Figures of every question (--mcq), or replies (--input), line by line")
      ->type_name("FILE.jsonl")
      ->group("Batch");
  batch_.AddTo(*command, "ScoreRequest");
  AddConnectionFlags(*command, &connection_);
  return command;
}

void ScoreCommand::AddSingle(CLI::App& app) {
  const std::string group = "One question";
  context_option_ = app.add_option("--context", context_, "What comes before")->type_name("TEXT")->group(group);
  auto* choice = app.add_option("--choice", choices_, "A continuation; give it several times")
                     ->type_name("TEXT")
                     ->allow_extra_args(false)
                     ->group(group);
  unconditional_option_ =
      app.add_option("--unconditional", unconditional_, "A context that says nothing, for PMI")->type_name("TEXT")->group(group);
  auto* exact = app.add_flag("--exact", exact_, "Put no blank between context and choice")->group(group);
  context_option_->needs(choice);
  choice->needs(context_option_);
  single_options_ = {context_option_, choice, unconditional_option_, exact};
}

void ScoreCommand::AddMcq(CLI::App& app) {
  const std::string group = "Multiple-choice files";
  mcq_options_ = {app.add_option("--mcq", mcq_, "Files in their original format, or directories of them")->type_name("FILE")->group(group),
                  app.add_option("--format", format_, "auto, medmcqa, casehold, mathqa, mmlu, freecodecamp or jsonl")
                      ->type_name("NAME")
                      ->capture_default_str()
                      ->group(group),
                  app.add_option("--judge", judge_, "By the letter, by the text of the options, or both")
                      ->type_name("WHICH")
                      ->capture_default_str()
                      ->group(group),
                  app.add_option("--template", template_file_, "Prompts of your own (docs/client.md)")->type_name("FILE")->group(group),
                  app.add_option("--limit", limit_, "Only the first N questions of all files together; 0: all")
                      ->type_name("N")
                      ->check(CLI::NonNegativeNumber.description(""))
                      ->group(group),
                  app.add_option("--show", show_, "Show the first N questions with all figures")
                      ->type_name("N")
                      ->check(CLI::NonNegativeNumber.description(""))
                      ->group(group)};
}

StatusOr<v1::ScoreRequest> ScoreCommand::CommonRequest() const {
  v1::ScoreRequest request;
  RETURN_IF_ERROR(ApplyRouting(routing_, &request));
  if (boundary_ == "lm-eval") {
    request.set_boundary(v1::BOUNDARY_LM_EVAL);
  } else if (boundary_ == "joint") {
    request.set_boundary(v1::BOUNDARY_JOINT);
  } else {
    return InvalidArgument("--boundary: expected lm-eval or joint, found \"%s\"", boundary_);
  }
  request.set_truncate_context(truncate_);
  return request;
}

StatusOr<v1::ScoreRequest> ScoreCommand::SingleRequest() const {
  ASSIGN_OR_RETURN(v1::ScoreRequest request, CommonRequest());
  if (!IsValidUtf8(context_) || !IsValidUtf8(unconditional_)) return InvalidArgument("the context is not UTF-8");
  request.set_text(context_);
  for (const std::string& choice : choices_) {
    if (choice.empty()) return InvalidArgument("a --choice is empty");
    if (!IsValidUtf8(choice)) return InvalidArgument("a --choice is not UTF-8");
    const bool joined = exact_ || context_.empty() || IsBlankCharacter(context_.back()) || IsBlankCharacter(choice.front());
    request.add_continuations()->set_text(joined ? choice : " " + choice);
  }
  if (unconditional_option_->count() > 0) request.set_unconditional_text(unconditional_);
  return request;
}

ExitCode ScoreCommand::Run(CommandEnvironment& environment) {
  Terminal& terminal = environment.terminal;
  const bool single = FirstGiven(single_options_) != nullptr;
  const bool mcq = FirstGiven(mcq_options_) != nullptr;
  if (int{single} + int{mcq} + int{batch_.given()} != 1) {
    return Fail(terminal, "score needs one of: --context with --choice, --mcq FILE, --input FILE.jsonl");
  }
  if (batch_.given()) return RunBatchFile(environment);
  if (mcq && mcq_.empty()) return Fail(terminal, FirstGiven(mcq_options_)->get_name() + " needs --mcq FILE");
  if (mcq) return RunMcqFiles(environment);
  if (context_option_->count() == 0) return Fail(terminal, FirstGiven(single_options_)->get_name() + " needs --context and --choice");
  if (!batch_.output.empty()) return Fail(terminal, "--output goes with --mcq or --input; for one question use --json");
  return RunSingle(environment);
}

ExitCode ScoreCommand::RunBatchFile(CommandEnvironment& environment) {
  Connection connection(connection_);
  const BatchMethod method = {&v1::ScoreRequest::default_instance(), &v1::ScoreResponse::default_instance(),
                              [&](const google::protobuf::Message& request, google::protobuf::Message* response) {
                                return connection.Score(static_cast<const v1::ScoreRequest&>(request),
                                                        static_cast<v1::ScoreResponse*>(response));
                              }};
  return RunBatchCommand(batch_, shared_options_, method, connection_, environment);
}

ExitCode ScoreCommand::RunSingle(CommandEnvironment& environment) {
  Terminal& terminal = environment.terminal;
  const StatusOr<v1::ScoreRequest> request = SingleRequest();
  if (!request.ok()) return Fail(terminal, request.status());
  Connection connection(connection_);
  v1::ScoreResponse response;
  grpc::Status status = connection.Score(*request, &response);
  if (status.ok() && response.scores_size() != request->continuations_size()) {
    status = {grpc::StatusCode::INTERNAL,
              absl::StrFormat("%d scores for %d choices", response.scores_size(), request->continuations_size())};
  }
  if (!status.ok()) return Fail(terminal, status, connection_);
  if (json_) {
    terminal.out << ToJsonLine(response) << std::endl;
    return kExitOk;
  }
  terminal.out << ScoreTable(choices_, response, terminal.out_style) << std::flush;
  terminal.err << terminal.err_style.Dim(
                      absl::StrFormat("log-probabilities, natural logarithm; * wins · %d prompt tokens, %d computed · generation %s",
                                      response.usage().prompt_tokens(), response.usage().computed_tokens(),
                                      ShortGeneration(response.generations().snapshot())))
               << std::endl;
  return kExitOk;
}

StatusOr<McqRunOptions> ScoreCommand::RunOptions(const RetryPolicy& retry) const {
  McqRunOptions options;
  ASSIGN_OR_RETURN(options.common, CommonRequest());
  ASSIGN_OR_RETURN(options.judges, ParseJudgeSelection(judge_));
  if (!template_file_.empty()) {
    ASSIGN_OR_RETURN(options.templates, ReadTemplates(template_file_));
  }
  options.concurrency = batch_.concurrency;
  options.retry = retry;
  options.retry.retries = batch_.retries;
  options.output = batch_.output;
  return options;
}

ExitCode ScoreCommand::RunMcqFiles(CommandEnvironment& environment) {
  Terminal& terminal = environment.terminal;
  const StatusOr<McqRunOptions> options = RunOptions(environment.retry);
  if (!options.ok()) return Fail(terminal, options.status());
  const StatusOr<McqFormat> format = ParseMcqFormat(format_);
  if (!format.ok()) return Fail(terminal, format.status());
  StatusOr<McqSet> set = ReadMcqFiles(mcq_, *format);
  if (!set.ok()) return Fail(terminal, set.status());
  if (limit_ > 0 && static_cast<size_t>(limit_) < set->questions.size()) set->questions.resize(limit_);
  if (set->questions.empty() && set->bad.empty()) return Fail(terminal, "there is no question in " + mcq_.front());

  Connection connection(connection_);
  int64_t shown = 0;
  const auto show = [&](const McqAnswer& answer) {
    if (shown++ < show_) terminal.out << McqExample(answer, options->templates, terminal.out_style) << "\n" << std::flush;
  };
  const StatusOr<McqOutcome> outcome = RunMcq(
      set->questions, *options,
      [&](const v1::ScoreRequest& request, v1::ScoreResponse* response) { return connection.Score(request, response); }, terminal,
      json_ ? AnswerFn() : show);
  if (!outcome.ok()) return Fail(terminal, outcome.status());
  terminal.out << (json_ ? McqReportJson(*set, *outcome) + "\n" : McqReport(*set, *outcome, terminal.out_style)) << std::flush;
  if (!outcome->stopped.ok()) return Fail(terminal, outcome->stopped, connection_);
  return set->bad.empty() && outcome->tally.failures().empty() ? kExitOk : kExitSomeFailed;
}

}  // namespace switchyard::client
