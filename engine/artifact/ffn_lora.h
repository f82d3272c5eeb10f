// The LoRA of one expert as importers hold it: pairs of the feed-forward projections, each with its own scale.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "engine/artifact/peft_adapter.h"
#include "engine/artifact/tensor_view.h"
#include "engine/base/status.h"

namespace switchyard {

// delta = scale * B A.
struct ScaledLora {
  TensorView a, b;  // [rank, in], [out, rank]
  double scale = 0;
};

// By (layer, projection).
using FfnLora = std::map<std::pair<int32_t, FfnProjection>, ScaledLora>;

inline constexpr FfnProjection kFfnProjections[] = {FfnProjection::kGate, FfnProjection::kUp, FfnProjection::kDown};

// "gate", "up", "down".
const char* ShortName(FfnProjection projection);
// "layers.3.mlp.gate_proj"
std::string FfnModule(int32_t layer, FfnProjection projection);

// INVALID_ARGUMENT for a name that is no plain file name of letters, digits, - and _, or comes twice.
Status CheckExpertNames(const std::vector<std::string>& names);

// A PEFT directory with exactly these scales: alpha = scale x rank, by pattern where modules differ. REQUIRES: lora is not empty, scales
// above 0, and a projection that is there in one layer is there in all. ALREADY_EXISTS when `directory` is there.
Status WriteFfnLora(const std::string& directory, FfnLora lora);

}  // namespace switchyard
