// adapter_config.json of MixLoRA (Li et al., 2404.15159): what its experts and routers are.
#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "engine/base/status.h"

namespace switchyard {

struct MixLoraConfig {
  struct Scale {
    int32_t rank = 0;
    double alpha = 0;
    bool rslora = false;
    double value() const;  // alpha / r, or alpha / sqrt(r)
  };
  int32_t experts = 0;
  int32_t top_k = 2;
  Scale attention;                // of the LoRA on attention, which all experts share
  Scale expert;                   // "expert_lora" where it is given
  std::set<std::string> targets;  // "gate_proj", "q_proj", ...
};

// Every field is honoured or refused by name. `file` stands for the path in messages. UNIMPLEMENTED for another peft_type or routing
// strategy, DoRA, another activation than the base's and unknown fields; DATA_LOSS for what is not a configuration.
StatusOr<MixLoraConfig> ParseMixLoraConfig(const std::string& json, const std::string& file);

}  // namespace switchyard
