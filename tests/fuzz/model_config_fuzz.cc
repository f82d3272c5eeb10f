// Any bytes as config.json. What is accepted must lie within the ranges everything above relies on.

#include <cstdint>
#include <cstdlib>
#include <string>

#include "engine/artifact/model_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto config = switchyard::ParseModelConfig(std::string(reinterpret_cast<const char*>(data), size), "fuzz");
  if (!config.ok()) return 0;
  if (config->hidden_size < 1 || config->num_layers < 1 || config->vocab_size < 1 || config->head_dim < 2 || config->head_dim % 2 != 0)
    std::abort();
  if (config->num_kv_heads < 1 || config->num_heads % config->num_kv_heads != 0 || !(config->rope.theta > 0)) std::abort();
  return 0;
}
