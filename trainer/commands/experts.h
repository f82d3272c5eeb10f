// The --expert and --router flags of several commands.
#pragma once

#include <CLI/CLI.hpp>

#include <memory>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "trainer/nn/base_weights.h"
#include "trainer/nn/lora.h"
#include "trainer/nn/router_module.h"

namespace switchyard::trainer {

struct ExpertFlags {
  std::vector<std::string> experts;  // NAME=DIRECTORY, in router order
  std::vector<std::string> fresh;    // NAME[:RANK]
  bool zero = true;
  void AddTo(CLI::App& app, bool may_be_fresh);
};

// In order: experts, fresh ones, zero. `train`: their matrices are trainable (fresh ones always are).
StatusOr<std::vector<LoraExpert>> OpenExperts(const ExpertFlags& flags, const TrainCompute& compute, const ModelConfig& base, bool train,
                                              uint64_t seed);

// The router artifact at `directory` as it is evaluated: bound to base and experts, its own kind, k and weights; `options` gives the rest.
StatusOr<std::unique_ptr<RouterModule>> OpenPublishedRouter(const std::string& directory, const BaseWeights& base,
                                                            const std::vector<LoraExpert>& experts, RouterOptions options);

// What adapter_config.json must say of an expert; INVALID_ARGUMENT when its matrices differ in rank or scale.
StatusOr<LoraOptions> OptionsOf(const LoraExpert& expert);

}  // namespace switchyard::trainer
