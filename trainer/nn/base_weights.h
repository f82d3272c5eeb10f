// The base model's weights as plain tensors: what a training run freezes, or partly trains.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "engine/artifact/model_config.h"
#include "engine/base/status.h"
#include "engine/model/rope.h"

namespace switchyard::trainer {

struct BaseLayer {
  at::Tensor input_norm, post_attention_norm;  // [H] f32
  at::Tensor qkv, qkv_bias;                    // [(heads + 2 kv_heads) dim, H]; bias undefined without one
  at::Tensor q_norm, k_norm;                   // [dim] f32; undefined without qk_norm
  at::Tensor o, o_bias;                        // [H, heads dim]
  at::Tensor gate, up, down;                   // [M, H], [M, H], [H, M]
};

// Immutable. Matrices are in `dtype`.
struct BaseWeights {
  ModelConfig config;
  std::string directory;
  std::string generation;  // BaseFingerprint
  at::ScalarType dtype = at::kBFloat16;
  at::Tensor embedding;  // [V, H]
  std::vector<BaseLayer> layers;
  at::Tensor final_norm;  // [H] f32
  at::Tensor head;        // [V, H]
  RopeTable rope;         // of the positions a run may use
};

// dtype: "auto" (what config.json says), "bf16" or "f32". Errors are those of LoadBaseModel.
StatusOr<BaseWeights> ReadBaseWeights(const std::string& directory, const std::string& dtype, int64_t max_positions);

}  // namespace switchyard::trainer
