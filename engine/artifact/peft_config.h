// adapter_config.json of a PEFT LoRA: which modules it targets, with which rank and scale. Matching follows PEFT 0.21.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/status.h"

namespace switchyard {

// Immutable after Parse.
class PeftConfig {
 public:
  // `file` stands for the path in messages. UNIMPLEMENTED names the first field that changes the mathematics in a way we do not compute.
  static StatusOr<PeftConfig> Parse(const std::string& json, const std::string& file);

  // `module` as PEFT names it inside the model: "model.layers.3.mlp.gate_proj". `layer` is its number.
  bool Targets(const std::string& module, int32_t layer) const;
  int32_t Rank(const std::string& module) const;
  double Scale(const std::string& module) const;  // alpha / r, or alpha / sqrt(r); patterns applied
  bool untrained() const { return untrained_; }

 private:
  struct Pattern;  // a regular expression and its value
  int32_t rank_ = 8;
  double alpha_ = 8;
  bool rslora_ = false, untrained_ = false, all_linear_ = false;
  std::vector<std::string> targets_, excluded_;
  std::shared_ptr<const Pattern> target_regex_, excluded_regex_;
  std::optional<std::vector<int64_t>> layers_;
  std::vector<std::shared_ptr<const Pattern>> layer_patterns_, rank_patterns_, alpha_patterns_;
};

}  // namespace switchyard
