#include "trainer/nn/base_weights.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "engine/artifact/router_artifact.h"
#include "engine/artifact/safetensors.h"
#include "engine/model/base_model.h"

namespace switchyard::trainer {

namespace {

StatusOr<at::ScalarType> ChooseDtype(const std::string& asked, const ModelConfig& config) {
  if (asked == "f32") return at::kFloat;
  if (asked == "bf16") return at::kBFloat16;
  if (asked != "auto") return InvalidArgument("dtype: expected auto, bf16 or f32, found %s", asked);
  return config.dtype == "float32" ? at::kFloat : at::kBFloat16;
}

}  // namespace

StatusOr<BaseWeights> ReadBaseWeights(const std::string& directory, const std::string& dtype, int64_t max_positions) {
  ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(directory));
  ASSIGN_OR_RETURN(const auto tensors, SafetensorsSet::OpenModelDirectory(directory));
  BaseWeights base;
  ASSIGN_OR_RETURN(base.dtype, ChooseDtype(dtype, config));
  const Compute compute{Backend::kReference, base.dtype, nullptr};
  ASSIGN_OR_RETURN(const auto model, LoadBaseModel(config, *tensors, compute, std::numeric_limits<int64_t>::max()));
  base.config = config;
  base.directory = directory;
  ASSIGN_OR_RETURN(base.generation, BaseFingerprint(directory));
  base.embedding = model->embedding;
  for (const DecoderLayer& layer : model->layers) {
    const auto wide = [](const at::Tensor& t) { return t.defined() ? t.to(at::kFloat) : t; };
    base.layers.push_back({wide(layer.input_norm), wide(layer.post_attention_norm), layer.qkv.weight(), layer.qkv.bias(),
                           wide(layer.q_norm), wide(layer.k_norm), layer.o.weight(), layer.o.bias(), layer.ffn.gate.weight(),
                           layer.ffn.up.weight(), layer.ffn.down.weight()});
  }
  base.final_norm = model->final_norm.to(at::kFloat);
  base.head = model->head->weight();
  base.rope = MakeRopeTable(config.rope, config.head_dim, std::min<int64_t>(max_positions, config.max_positions));
  return base;
}

}  // namespace switchyard::trainer
