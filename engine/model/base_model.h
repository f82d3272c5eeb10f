// The frozen base: weights of a Hugging Face directory, ready to compute.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/artifact/model_config.h"
#include "engine/artifact/safetensors.h"
#include "engine/base/status.h"
#include "engine/experts/mixture.h"
#include "engine/tensor/compute.h"
#include "engine/tensor/linear.h"

namespace switchyard {

// Norm weights are in activation_dtype.
struct DecoderLayer {
  at::Tensor input_norm;           // [hidden]
  Linear qkv;                      // [(heads + 2 kv_heads) * head_dim, hidden]: rows of q, then k, then v
  at::Tensor q_norm, k_norm;       // [head_dim]; undefined without qk_norm
  Linear o;                        // [hidden, heads * head_dim]
  at::Tensor post_attention_norm;  // [hidden]
  FeedForward ffn;
};

// Immutable after loading; shared by all snapshots. Used only on the engine thread.
struct BaseModel {
  ModelConfig config;
  at::Tensor embedding;  // [vocab, hidden] in weight_dtype
  std::vector<DecoderLayer> layers;
  at::Tensor final_norm;         // [hidden]
  std::unique_ptr<Linear> head;  // [vocab, hidden]
  int64_t bytes = 0;             // resident
};

// Bytes of the base's tensors once resident, without reading any: a packed head beside a tied embedding included.
int64_t EstimateBaseBytes(const ModelConfig& config, const Compute& compute);

// INVALID_ARGUMENT names tensor, expected and found shape, or a tensor the architecture does not have; NOT_FOUND a missing tensor;
// DATA_LOSS NaN or infinite weights; RESOURCE_EXHAUSTED when the estimate exceeds `budget_bytes`. `compute` must outlive the model.
StatusOr<std::unique_ptr<BaseModel>> LoadBaseModel(const ModelConfig& config, const SafetensorsSet& tensors, const Compute& compute,
                                                   int64_t budget_bytes);

}  // namespace switchyard
