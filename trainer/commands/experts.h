// The --expert flags of several commands.
#pragma once

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

#include "engine/base/status.h"
#include "trainer/nn/lora.h"

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

// What adapter_config.json must say of an expert; INVALID_ARGUMENT when its matrices differ in rank or scale.
StatusOr<LoraOptions> OptionsOf(const LoraExpert& expert);

}  // namespace switchyard::trainer
