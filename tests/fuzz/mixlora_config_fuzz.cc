// Any bytes as MixLoRA's adapter_config.json.

#include <cstdint>
#include <cstdlib>
#include <string>

#include "engine/artifact/mixlora_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto config = switchyard::ParseMixLoraConfig(std::string(reinterpret_cast<const char*>(data), size), "fuzz");
  if (!config.ok()) return 0;
  if (config->experts < 1 || config->top_k < 1 || config->top_k > config->experts) std::abort();
  if (!(config->expert.value() > 0) || !(config->attention.value() > 0)) std::abort();
  return 0;
}
