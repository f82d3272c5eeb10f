// The LoRA of one Dense2MoE expert: read from the adapter directories its training left.
#pragma once

#include <string>
#include <vector>

#include "engine/artifact/ffn_lora.h"
#include "engine/artifact/model_config.h"
#include "engine/base/status.h"

namespace switchyard {

// What a scale is when nothing in the files says it: the value Dense2MoE's code has.
inline constexpr double kDense2MoeScale = 2.0;

// All layers, all three projections. `directory` holds adapter_model.safetensors or adapter_model.bin. As Dense2MoE reads it: the
// feed-forward part only, scales from tensors if there are any and else 2.0, whatever adapter_config.json says. What that leaves out or
// overrules is added to `notes`; an adapter_config.json that PEFT would compute otherwise (DoRA, ...) is UNIMPLEMENTED by name. DATA_LOSS
// for a missing tensor, INVALID_ARGUMENT for shapes that do not fit.
StatusOr<FfnLora> ReadDense2MoeAdapter(const std::string& directory, const ModelConfig& base, std::vector<std::string>* notes);

}  // namespace switchyard
