// `switchyard score`: log-probabilities of continuations; of one question on the command line, of a file of requests, or of a file of
// multiple-choice questions in its original format.
#pragma once

#include <string>
#include <vector>

#include "client/command.h"
#include "client/connection.h"
#include "client/flags.h"
#include "client/mcq_run.h"

namespace switchyard::client {

class ScoreCommand : public Command {
 public:
  CLI::App* AddTo(CLI::App& app) override;
  ExitCode Run(CommandEnvironment& environment) override;

 private:
  void AddSingle(CLI::App& app);
  void AddMcq(CLI::App& app);
  // Routing, boundary and truncation: what every request of this command carries.
  StatusOr<v1::ScoreRequest> CommonRequest() const;
  StatusOr<v1::ScoreRequest> SingleRequest() const;
  StatusOr<McqRunOptions> RunOptions(const RetryPolicy& retry) const;
  ExitCode RunSingle(CommandEnvironment& environment);
  ExitCode RunMcqFiles(CommandEnvironment& environment);
  ExitCode RunBatchFile(CommandEnvironment& environment);

  ConnectionOptions connection_;
  RoutingFlags routing_;
  BatchFlags batch_;
  std::string boundary_ = "lm-eval";
  bool truncate_ = false;
  bool json_ = false;

  std::string context_;
  std::vector<std::string> choices_;
  std::string unconditional_;
  bool exact_ = false;

  std::vector<std::string> mcq_;
  std::string format_ = "auto";
  std::string judge_ = "both";
  std::string template_file_;
  int64_t limit_ = 0;
  int64_t show_ = 0;

  CLI::Option* context_option_ = nullptr;
  CLI::Option* unconditional_option_ = nullptr;
  std::vector<CLI::Option*> shared_options_, single_options_, mcq_options_;
};

}  // namespace switchyard::client
