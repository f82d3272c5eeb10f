// One directory of tests/golden/model: the files a server would load, and what transformers and PEFT computed from them.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/artifact/safetensors.h"
#include "engine/runner/runner_factory.h"
#include "engine/runtime/model_runner.h"

namespace switchyard::testing {

// A tensor of a file of goldens, and one of token ids. A missing one fails the running test.
at::Tensor GoldenTensor(const SafetensorsFile& file, const std::string& tensor);
std::vector<TokenId> GoldenTokens(const SafetensorsFile& file, const std::string& tensor);

class GoldenCase {
 public:
  // Fails the running test when the directory does not read.
  explicit GoldenCase(const std::string& name);

  const std::string& name() const { return name_; }
  std::string model_directory() const { return directory_ + "/model"; }
  std::string expert_directory(const std::string& expert) const { return directory_ + "/experts/" + expert; }
  const std::vector<std::string>& experts() const { return experts_; }                  // PEFT directories
  const std::vector<std::string>& mixture_experts() const { return mixture_experts_; }  // router order, with "zero"; empty without mixtures
  int prompts() const { return meta_.value("prompts", 0); }
  const nlohmann::json& meta() const { return meta_; }

  bool Has(const std::string& tensor) const { return file_->tensors().contains(tensor); }
  at::Tensor Get(const std::string& tensor) const;
  std::vector<TokenId> Tokens(const std::string& tensor) const;
  std::vector<TokenId> Prompt(int index) const;

  // Every expert of the case (router order where it has mixtures, else with a zero expert at the end).
  RunnerOptions Options(const std::string& backend, const std::string& dtype) const;

 private:
  std::string name_, directory_;
  std::shared_ptr<const SafetensorsFile> file_;
  std::vector<std::string> experts_, mixture_experts_;
  nlohmann::json meta_;
};

// Fails the running test when the runner does not load.
LoadedRunner LoadOrFail(const RunnerOptions& options);

// Writes the router `kind` ("mlp", "linear") of the llama case as an artifact into `directory`.
void WriteGoldenRouter(const GoldenCase& golden, const std::string& kind, int top_k, const std::string& weights,
                       const std::string& directory);

// max |a - b| / max |b|.
double RelativeError(const std::vector<std::vector<float>>& rows, const at::Tensor& want);

}  // namespace switchyard::testing
