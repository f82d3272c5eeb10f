// Seeded tiny models, experts and routers, written as the files a server loads. No torch.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/base/status.h"

namespace switchyard::testing {

struct TinyModelSpec {
  std::string model_type = "llama";  // llama, qwen2, qwen3
  int32_t hidden = 32;
  int32_t intermediate = 48;
  int32_t layers = 2;
  int32_t heads = 4;
  int32_t kv_heads = 2;
  int32_t head_dim = 8;
  int32_t vocab = 64;
  int32_t max_positions = 256;
  bool tied = false;
  uint32_t seed = 1;
};

struct TinyTensor {
  std::vector<int64_t> shape;
  std::vector<float> values;
};
using TinyTensors = std::map<std::string, TinyTensor>;

// Weights that keep activations near 1; the same for the same spec on every machine.
TinyTensors TinyBaseTensors(const TinyModelSpec& spec);
// config.json and model.safetensors (F32) of a Hugging Face directory; `directory` is created. Pass changed tensors to write a broken base.
Status WriteTinyBase(const std::string& directory, const TinyModelSpec& spec, const TinyTensors& tensors);
Status WriteTinyBase(const std::string& directory, const TinyModelSpec& spec);

TinyTensors TinyExpertTensors(const TinyModelSpec& spec, int32_t rank, uint32_t seed);
// A PEFT directory on gate, up and down of every layer, alpha 2 x rank.
Status WriteTinyExpert(const std::string& directory, int32_t rank, const TinyTensors& tensors);
Status WriteTinyExpert(const std::string& directory, const TinyModelSpec& spec, int32_t rank, uint32_t seed);

struct TinyRouterSpec {
  std::string name = "tiny";
  std::string kind = "linear";  // or "dense2moe_mlp"
  int32_t top_k = 1;
  std::string weight_mode = "renorm";
  uint32_t seed = 9;
  struct Expert {
    std::string name;
    std::string directory;  // "" for the zero expert
  };
  std::vector<Expert> experts;  // ordered
};
// A router artifact bound to a base and experts already written. `directory` must not exist.
Status WriteTinyRouter(const std::string& directory, const TinyModelSpec& model, const std::string& base_directory,
                       const TinyRouterSpec& spec);

}  // namespace switchyard::testing
