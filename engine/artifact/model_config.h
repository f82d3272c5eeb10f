// config.json of a Hugging Face base model, read strictly: a field that changes the mathematics is honoured or refused by name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/status.h"

namespace switchyard {

enum class Architecture { kLlama, kQwen2, kQwen3 };

struct RopeConfig {
  double theta = 10000.0;
  // rope_type "llama3": frequencies are scaled by wavelength. Absent for "default".
  struct Llama3 {
    double factor = 1;
    double low_freq_factor = 1;
    double high_freq_factor = 4;
    double original_max_positions = 8192;
  };
  std::optional<Llama3> llama3;
  std::optional<double> linear_factor;  // rope_type "linear": positions divided by this
};

struct ModelConfig {
  Architecture architecture = Architecture::kLlama;
  int32_t hidden_size = 0;
  int32_t intermediate_size = 0;
  int32_t num_layers = 0;
  int32_t num_heads = 0;
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;
  int32_t vocab_size = 0;
  int32_t max_positions = 0;
  double rms_norm_eps = 1e-6;
  bool tie_embeddings = false;
  bool attention_bias = false;  // bias on q, k, v (Qwen2.5; Llama with attention_bias: also on o)
  bool attention_output_bias = false;
  bool mlp_bias = false;  // refused unless false
  bool qk_norm = false;   // Qwen3: RMSNorm over head_dim on q and k before rope
  RopeConfig rope;
  std::string dtype;  // "bfloat16", "float32", ... as the file says; "" when silent
  std::optional<int32_t> bos_token_id;
  std::vector<int32_t> eos_token_ids;  // generation_config.json's when present, else config.json's
};

// `directory` holds config.json and perhaps generation_config.json.
StatusOr<ModelConfig> ReadModelConfig(const std::string& directory);
// `file` stands for the path in messages.
StatusOr<ModelConfig> ParseModelConfig(const std::string& json, const std::string& file);

// Sampling defaults of generation_config.json; absent fields stay absent.
struct GenerationDefaults {
  std::optional<float> temperature;
  std::optional<int32_t> top_k;
  std::optional<float> top_p;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;
  std::optional<bool> do_sample;
};
// The text of a generation_config.json; `path` stands for it in messages. DATA_LOSS when it is no object or a value is out of range.
StatusOr<GenerationDefaults> ParseGenerationDefaults(const std::string& text, const std::string& path);
// Of a model directory; nothing is set when there is no such file.
StatusOr<GenerationDefaults> ReadGenerationDefaults(const std::string& directory);

}  // namespace switchyard
