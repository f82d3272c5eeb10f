// The tensors of a Dense2MoE checkpoint, sorted by what they are.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/artifact/model_config.h"
#include "engine/artifact/peft_adapter.h"
#include "engine/artifact/tensor_view.h"
#include "engine/base/status.h"

namespace switchyard {

// One low-rank pair of an expert; `scale` is 0 when the file has none.
struct Dense2MoePair {
  TensorView a, b;
  double scale = 0;
};

struct Dense2MoeRouter {
  TensorView fc1_weight, fc1_bias, fc2_weight, fc2_bias;  // [D, H], [D], [E, D], [E]
};

struct Dense2MoeCheckpoint {
  std::string path;
  std::vector<Dense2MoeRouter> routers;                                       // one a layer
  int32_t experts = 0;                                                        // E, from the routers
  std::map<std::tuple<int32_t, int32_t, FfnProjection>, Dense2MoePair> lora;  // (expert, layer, projection); all of E x layers x 3, or none
  std::vector<std::pair<std::string, TensorView>> base;  // base tensors under the base's own names; a name may come again
};

// Routers have to be whole and fit `base`, LoRA whole or absent. DATA_LOSS names the first tensor that is missing, UNIMPLEMENTED the first
// that the layout does not know, INVALID_ARGUMENT the first whose shape does not fit.
StatusOr<Dense2MoeCheckpoint> ReadDense2MoeCheckpoint(const std::string& path, const ModelConfig& base);

// "gate", "up", "down".
const char* ShortName(FfnProjection projection);

}  // namespace switchyard
