// The tensors of a MixLoRA adapter, sorted by what they are.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "engine/artifact/ffn_lora.h"
#include "engine/artifact/mixlora_config.h"
#include "engine/artifact/model_config.h"
#include "engine/base/status.h"

namespace switchyard {

enum class AttentionProjection { kQuery, kKey, kValue, kOutput };
// "q", "k", "v", "o".
const char* ShortName(AttentionProjection projection);

struct MixLoraWeights {
  std::string path;
  std::vector<TensorView> gates;                                            // one a layer, [E, H]
  std::vector<FfnLora> experts;                                             // E; every layer of the targets
  std::map<std::pair<int32_t, AttentionProjection>, ScaledLora> attention;  // by (layer, projection); shared by all experts
};

// `directory` holds adapter_model.safetensors or adapter_model.bin, with the names of today (mlp.moe_gate, mlp.gate_proj.experts.0) or of
// old (gate, experts.0.w1_proj). The tensors are those that `config` asks for, no more and no less. UNIMPLEMENTED for a name that is no
// part of MixLoRA, LoRAMoE's among them; DATA_LOSS for a missing tensor or NaN; INVALID_ARGUMENT for shapes that do not fit.
StatusOr<MixLoraWeights> ReadMixLoraWeights(const std::string& directory, const MixLoraConfig& config, const ModelConfig& base);

}  // namespace switchyard
