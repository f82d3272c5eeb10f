// What a GGUF file says about the model: the mathematics from its metadata, as config.json says it, and the names of its tensors.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/artifact/gguf.h"
#include "engine/base/status.h"
#include "nlohmann/json_fwd.hpp"

namespace switchyard {

struct GgufModel {
  std::string architecture;  // "llama", "qwen2", "qwen3"
  int64_t hidden = 0;
  int64_t intermediate = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t vocabulary = 0;  // rows of the embedding
  int64_t max_positions = 0;
  double rms_norm_eps = 0;
  double rope_theta = 0;
  std::optional<double> rope_linear_factor;
  std::optional<double> rope_llama3_factor;
  bool tied_head = false;
  bool qkv_bias = false;
  bool output_bias = false;
};

// UNIMPLEMENTED by name for another architecture or a feature not supported (experts, partial rotary, YaRN, ...).
StatusOr<GgufModel> ReadGgufModel(const GgufFile& file);

// One tensor of the model under both names. `permuted_heads` is not 0 for q and k of architecture llama: llama.cpp's converter puts the two
// halves of each head's rows in turns, and the import puts them back.
struct GgufTensorRule {
  std::string gguf_name;
  std::string name;
  std::vector<int64_t> shape;
  int64_t permuted_heads = 0;
};
std::vector<GgufTensorRule> TensorRules(const GgufModel& model);

// The row of the GGUF tensor that holds row `row` of the Hugging Face tensor, for `heads` heads of `rows / heads` rows each.
int64_t PermutedRow(int64_t row, int64_t rows, int64_t heads);

// config.json and generation_config.json. Token ids come from the tokenizer's metadata.
StatusOr<nlohmann::ordered_json> ConfigJson(const GgufFile& file, const GgufModel& model, const std::string& dtype);
StatusOr<nlohmann::ordered_json> GenerationConfigJson(const GgufFile& file);

}  // namespace switchyard
