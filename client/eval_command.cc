#include "client/eval_command.h"

#include <algorithm>
#include <fstream>
#include <set>

#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "client/flags.h"
#include "client/screen_text.h"

namespace switchyard::client {
namespace {

Status WriteFile(const std::string& path, const std::string& text) {
  if (path.empty()) return OkStatus();
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text << std::flush;
  return file.good() ? OkStatus() : DataLoss("%s: cannot be written", path);
}

}  // namespace

CLI::App* EvalCommand::AddTo(CLI::App& app) {
  CLI::App* command = app.add_subcommand("eval", "Table of accuracies: ways of routing by sets of questions");
  command->footer(
      "Examples:\n"
      "  switchyard eval --set law=law.jsonl --set medicine=med.jsonl --rows standard --markdown table.md\n"
      "  switchyard eval --server a:8500,b:8500 --set law=law.jsonl --row base=base --row random=learned@c:8500 --state run.jsonl\n"
      "  switchyard eval --set law=law.jsonl --row routed=learned --row base=base --compare routed,base --judge all\n"
      "A ROUTING is what --routing of `switchyard score` takes, or oracle: each set is answered by the expert of its name, or by the "
      "base.\n"
      "The average is the mean of the columns. The same command with the same --state goes on where it was stopped.");
  const auto list = [&](const char* name, std::vector<std::string>* into, const char* help, const char* type) {
    return command->add_option(name, *into, help)->type_name(type)->allow_extra_args(false);
  };
  list("--set", &set_texts_, "A column: a file or directory as score --mcq takes it; may be given several times", "NAME=PATH")->required();
  list("--row", &row_texts_, "A row; may be given several times", "LABEL=ROUTING[@HOST:PORT,...]");
  command->add_option("--rows", standard_rows_, "standard: base, oracle, every expert, learned; before those of --row")
      ->type_name("standard");
  list("--judge", &judge_names_,
       "letter, sum, token, char, byte, pmi, generated-letter, generated-dense2moe, generated-dense2moe-text; text, generated, all",
       "NAME");
  const auto text = [&](const char* name, std::string* into, const char* help, const char* type) {
    command->add_option(name, *into, help)->type_name(type);
  };
  text("--headline", &headline_, "The judge of the first table (default: sum, where it is chosen)", "NAME");
  text("--compare", &compare_, "Paired difference of two rows on the same questions", "A,B");
  text("--format", &format_, "auto, medmcqa, casehold, mathqa, mmlu, freecodecamp or jsonl", "NAME");
  text("--template", &template_file_, "Prompts of your own (docs/client.md)", "FILE");
  text("--state", &state_file_, "Keep the answers here, and go on from them", "FILE.jsonl");
  text("--json", &json_file_, "Write every number here", "FILE");
  text("--markdown", &markdown_file_, "Write the tables here", "FILE");
  command->add_flag("--brief", brief_, "Print the first judge's table and only averages of the others; files get every table");
  command->add_option("--limit", limit_, "Only the first N questions of each set; 0: all")->check(CLI::NonNegativeNumber.description(""));
  command->add_flag("--truncate", options_.truncate, "Drop the oldest tokens of a prompt that is too long, instead of an error");
  command->add_option("--concurrency", options_.concurrency, "Questions in flight at once, over all servers")
      ->check(CLI::Range(1, 256).description(""))
      ->capture_default_str();
  command->add_option("--retries", retries_, "How often a request is repeated while a server is busy or away")
      ->check(CLI::Range(0, 1000).description(""))
      ->capture_default_str();
  AddConnectionFlags(*command, &connection_);
  return command;
}

Status EvalCommand::ReadSets() {
  ASSIGN_OR_RETURN(const McqFormat format, ParseMcqFormat(format_));
  std::set<std::string> names;
  for (const std::string& text : set_texts_) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0) return InvalidArgument("--set: expected NAME=PATH, found \"%s\"", text);
    EvalSet set{text.substr(0, equals), {}};
    if (!names.insert(set.name).second) return InvalidArgument("--set: %s is named twice", set.name);
    ASSIGN_OR_RETURN(set.data, ReadMcqFiles({text.substr(equals + 1)}, format));
    if (limit_ > 0 && static_cast<size_t>(limit_) < set.data.questions.size()) set.data.questions.resize(limit_);
    if (set.data.questions.empty()) return InvalidArgument("--set: there is no question in %s", text.substr(equals + 1));
    sets_.push_back(std::move(set));
  }
  return OkStatus();
}

Status EvalCommand::ReadJudges() {
  ASSIGN_OR_RETURN(options_.judges, ParseEvalJudges(judge_names_.empty() ? std::vector<std::string>{"text"} : judge_names_));
  ASSIGN_OR_RETURN(const int headline, ParseEvalJudge(headline_));
  if (headline != kJudgeSum && !options_.judges[headline]) return InvalidArgument("--headline %s is not among --judge", headline_);
  if (options_.judges[headline]) judges_.push_back(headline);
  for (int judge = 0; judge < kEvalJudgeCount; ++judge) {
    if (options_.judges[judge] && judge != headline) judges_.push_back(judge);
  }
  if (template_file_.empty()) return OkStatus();
  ASSIGN_OR_RETURN(options_.templates, ReadTemplates(template_file_));
  return OkStatus();
}

StatusOr<EvalTarget> EvalCommand::Target(const std::vector<std::string>& servers, const RetryPolicy& retry) {
  auto& pool = pools_[servers];
  if (pool == nullptr) pool = std::make_unique<ServerPool>(servers, connection_);
  EvalTarget target;
  target.pool = pool.get();
  for (const auto& connection : pool->connections()) {
    v1::GetModelResponse model;
    const grpc::Status status = CallWithRetry(retry, [&] { return connection->GetModel(&model); });
    if (!status.ok()) {
      unreachable_ = status;
      connection_.server = connection->options().server;
      return InvalidArgument("%s: %s", connection->options().server, status.error_message());
    }
    const std::string& snapshot = model.generations().snapshot();
    if (connection != pool->connections().front() && snapshot != target.model.generations().snapshot()) {
      return FailedPrecondition("%s serves another generation (%s) than %s (%s): give it a row of its own", connection->options().server,
                                snapshot, servers.front(), target.model.generations().snapshot());
    }
    target.model = model;
  }
  return target;
}

Status EvalCommand::ReadRows(const std::vector<std::string>& servers) {
  if (!standard_rows_.empty()) {
    if (standard_rows_ != "standard") return InvalidArgument("--rows: expected standard, found \"%s\"", standard_rows_);
    ASSIGN_OR_RETURN(const EvalTarget main, Target(servers, retry_));
    rows_ = StandardRows(main.model.generations());
  }
  for (const std::string& text : row_texts_) {
    ASSIGN_OR_RETURN(EvalRow row, ParseEvalRow(text));
    rows_.push_back(std::move(row));
  }
  if (rows_.empty()) return InvalidArgument("eval needs --rows standard or --row LABEL=ROUTING");
  std::set<std::string> labels;
  for (const EvalRow& row : rows_) {
    if (!labels.insert(row.label).second) return InvalidArgument("two rows are called %s", row.label);
    ASSIGN_OR_RETURN(EvalTarget target, Target(row.servers.empty() ? servers : row.servers, retry_));
    RETURN_IF_ERROR(CheckExperts(row, target.model.generations()));
    targets_.push_back(std::move(target));
  }
  return OkStatus();
}

Status EvalCommand::ReadComparison() {
  if (compare_.empty()) return OkStatus();
  ASSIGN_OR_RETURN(const std::vector<std::string> labels, ParseList("--compare", compare_));
  std::vector<size_t> found;
  for (const std::string& label : labels) {
    const auto row = std::find_if(rows_.begin(), rows_.end(), [&](const EvalRow& r) { return r.label == label; });
    if (row == rows_.end()) return InvalidArgument("--compare: there is no row %s", label);
    found.push_back(row - rows_.begin());
  }
  if (found.size() != 2) return InvalidArgument("--compare: expected two rows A,B, found \"%s\"", compare_);
  comparison_ = {found[0], found[1]};
  return OkStatus();
}

ExitCode EvalCommand::Prepare(CommandEnvironment& environment) {
  retry_ = environment.retry;
  retry_.retries = retries_;
  options_.retry = retry_;
  const auto servers = ParseList("--server", connection_.server);
  Status status = servers.status();
  if (status.ok()) status = ReadSets();
  if (status.ok()) status = ReadJudges();
  if (status.ok()) status = ReadRows(*servers);
  if (!unreachable_.ok()) return Fail(environment.terminal, unreachable_, connection_);
  if (status.ok()) status = ReadComparison();
  return status.ok() ? kExitOk : Fail(environment.terminal, status);
}

ExitCode EvalCommand::Run(CommandEnvironment& environment) {
  Terminal& terminal = environment.terminal;
  if (const ExitCode code = Prepare(environment); code != kExitOk) return code;
  EvalAnswers answers;
  std::optional<EvalState> state;
  if (!state_file_.empty()) {
    std::vector<std::string> snapshots;
    for (const EvalTarget& target : targets_) snapshots.push_back(target.model.generations().snapshot());
    auto opened = EvalState::Open(
        state_file_, EvalIdentity(rows_, sets_, options_.judges, options_.templates, options_.truncate, snapshots), rows_, sets_, &answers);
    if (!opened.ok()) return Fail(terminal, opened.status());
    state = *std::move(opened);
  }
  const auto outcome = RunEval(rows_, sets_, targets_, options_, state.has_value() ? &*state : nullptr, terminal, &answers);
  if (!outcome.ok()) return Fail(terminal, outcome.status());
  const EvalReport report{rows_, sets_, targets_, answers, *outcome, judges_, comparison_, brief_};
  terminal.out << EvalScreen(report, terminal.out_style) << std::flush;
  for (const Status& written : {WriteFile(json_file_, EvalJson(report)), WriteFile(markdown_file_, EvalMarkdown(report))}) {
    if (!written.ok()) return Fail(terminal, written);
  }
  return Report(*outcome, terminal);
}

ExitCode EvalCommand::Report(const EvalOutcome& outcome, Terminal& terminal) {
  bool bad = !outcome.failures.empty();
  for (const EvalSet& set : sets_) {
    for (const BadRecord& record : set.data.bad) {
      terminal.err << "skipped " << record.file << ":" << record.line << ": " << OneLine(record.reason, 200) << std::endl;
      bad = true;
    }
  }
  for (const std::string& failure : outcome.failures) terminal.err << "failed " << OneLine(failure, 300) << std::endl;
  if (!outcome.stopped.ok()) return Fail(terminal, outcome.stopped, connection_);
  return bad ? kExitSomeFailed : kExitOk;
}

}  // namespace switchyard::client
