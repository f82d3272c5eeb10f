// Any bytes as each of the small JSON files of a model directory. What is accepted must lie within the ranges everything above relies on.

#include <cstdint>
#include <cstdlib>
#include <string>

#include "engine/artifact/model_config.h"
#include "engine/artifact/safetensors.h"

namespace {

void CheckShardIndex(const std::string& text) {
  const auto shard_of = switchyard::ParseShardIndex(text, "fuzz");
  if (!shard_of.ok()) return;
  for (const auto& [tensor, shard] : *shard_of) {
    if (shard.empty() || shard == ".." || shard.find('/') != std::string::npos) std::abort();
  }
}

void CheckGenerationDefaults(const std::string& text) {
  const auto defaults = switchyard::ParseGenerationDefaults(text, "fuzz");
  if (!defaults.ok()) return;
  if (defaults->temperature && !(*defaults->temperature >= 0)) std::abort();
  if (defaults->top_p && !(*defaults->top_p > 0 && *defaults->top_p <= 1)) std::abort();
  if (defaults->min_p && !(*defaults->min_p >= 0 && *defaults->min_p < 1)) std::abort();
  if (defaults->repetition_penalty && !(*defaults->repetition_penalty > 0)) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  CheckShardIndex(text);
  CheckGenerationDefaults(text);
  const auto config = switchyard::ParseModelConfig(text, "fuzz");
  if (!config.ok()) return 0;
  if (config->hidden_size < 1 || config->num_layers < 1 || config->vocab_size < 1 || config->head_dim < 2 || config->head_dim % 2 != 0)
    std::abort();
  if (config->num_kv_heads < 1 || config->num_heads % config->num_kv_heads != 0 || !(config->rope.theta > 0)) std::abort();
  return 0;
}
