// The tensors of a Dense2MoE checkpoint, sorted by what they are.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/artifact/ffn_lora.h"
#include "engine/artifact/model_config.h"
#include "engine/artifact/tensor_view.h"
#include "engine/base/status.h"

namespace switchyard {

struct Dense2MoeRouter {
  TensorView fc1_weight, fc1_bias, fc2_weight, fc2_bias;  // [D, H], [D], [E, D], [E]
};

struct Dense2MoeCheckpoint {
  std::string path;
  std::vector<Dense2MoeRouter> routers;  // one a layer
  int32_t experts = 0;                   // E, from the routers
  // By (expert, layer, projection); all of E x layers x 3, or none. Scale 0: the file has none.
  std::map<std::tuple<int32_t, int32_t, FfnProjection>, ScaledLora> lora;
  std::vector<std::pair<std::string, TensorView>> base;  // base tensors under the base's own names; a name may come again
};

// Routers have to be whole and fit `base`, LoRA whole or absent. DATA_LOSS names the first tensor that is missing, UNIMPLEMENTED the first
// that the layout does not know, INVALID_ARGUMENT the first whose shape does not fit.
StatusOr<Dense2MoeCheckpoint> ReadDense2MoeCheckpoint(const std::string& path, const ModelConfig& base);

}  // namespace switchyard
