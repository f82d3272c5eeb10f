// `switchyard generate`: streams an answer to the terminal, or answers a file of requests.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/command.h"
#include "client/connection.h"
#include "client/flags.h"
#include "engine/base/status.h"
#include "switchyard/v1/inference.pb.h"

namespace switchyard::client {

class GenerateCommand : public Command {
 public:
  CLI::App* AddTo(CLI::App& app) override;
  ExitCode Run(CommandEnvironment& environment) override;

 private:
  void AddSampling(CLI::App& app);
  StatusOr<v1::GenerateRequest> MakeRequest(std::istream& in) const;
  ExitCode RunOne(const v1::GenerateRequest& request, CommandEnvironment& environment);

  ConnectionOptions connection_;
  PromptFlags prompt_;
  RoutingFlags routing_;
  BatchFlags batch_;
  int max_tokens_ = 256;
  std::optional<float> temperature_, top_p_, min_p_, repetition_penalty_;
  std::optional<int> top_k_;
  std::optional<uint64_t> seed_;
  std::vector<std::string> stop_;
  std::optional<int> logprobs_;
  std::string routes_ = "none";
  bool ignore_eos_ = false;
  bool truncate_ = false;
  bool json_ = false;
  std::vector<CLI::Option*> single_;  // options of one request
};

}  // namespace switchyard::client
