// `switchyard eval`: a table of accuracies, a row a way of routing, a column a set of questions.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/command.h"
#include "client/eval_report.h"
#include "client/eval_run.h"

namespace switchyard::client {

class EvalCommand : public Command {
 public:
  CLI::App* AddTo(CLI::App& app) override;
  ExitCode Run(CommandEnvironment& environment) override;

 private:
  Status ReadSets();
  Status ReadJudges();
  Status ReadComparison();
  // Rows and, for each, the servers it is asked at, after a look at what they serve.
  Status ReadRows(const std::vector<std::string>& servers);
  StatusOr<EvalTarget> Target(const std::vector<std::string>& servers, const RetryPolicy& retry);
  ExitCode Prepare(CommandEnvironment& environment);
  // What was skipped or failed, and the exit code.
  ExitCode Report(const EvalOutcome& outcome, Terminal& terminal);

  ConnectionOptions connection_;
  std::vector<std::string> set_texts_, row_texts_, judge_names_;
  std::string standard_rows_, headline_ = "sum", format_ = "auto", template_file_, state_file_, json_file_, markdown_file_, compare_;
  int64_t limit_ = 0;
  bool brief_ = false;
  int retries_ = 8;

  EvalRunOptions options_;
  std::vector<EvalRow> rows_;
  std::vector<EvalSet> sets_;
  std::map<std::vector<std::string>, std::unique_ptr<ServerPool>> pools_;
  std::vector<EvalTarget> targets_;
  std::vector<int> judges_;  // headline first
  std::optional<std::pair<size_t, size_t>> comparison_;
  grpc::Status unreachable_;  // why Target failed
  RetryPolicy retry_;
};

}  // namespace switchyard::client
