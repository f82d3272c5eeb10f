// The LoRA of one Dense2MoE expert: read from the adapter directories its training left, written as a PEFT directory.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "engine/artifact/dense2moe_checkpoint.h"
#include "engine/base/status.h"

namespace switchyard {

// By (layer, projection); all layers, all three projections.
using Dense2MoeLora = std::map<std::pair<int32_t, FfnProjection>, Dense2MoePair>;

// What a scale is when nothing in the files says it: the value Dense2MoE's code has.
inline constexpr double kDense2MoeScale = 2.0;

// `directory` holds adapter_model.safetensors or adapter_model.bin. As Dense2MoE reads it: the feed-forward part only, scales from tensors
// if there are any and else 2.0, whatever adapter_config.json says. What that leaves out or overrules is added to `notes`; an
// adapter_config.json that PEFT would compute otherwise (DoRA, ...) is UNIMPLEMENTED by name. DATA_LOSS for a missing tensor,
// INVALID_ARGUMENT for shapes that do not fit.
StatusOr<Dense2MoeLora> ReadDense2MoeAdapter(const std::string& directory, const ModelConfig& base, std::vector<std::string>* notes);

// A PEFT directory with exactly these scales (2.0 where a pair has none): alpha = scale x rank, by pattern where modules differ.
Status WriteDense2MoeAdapter(const std::string& directory, Dense2MoeLora lora);

}  // namespace switchyard
