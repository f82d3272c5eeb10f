// Any bytes as adapter_config.json, patterns run over the modules of a small model.

#include <cstdint>
#include <cstdlib>
#include <string>

#include "engine/artifact/peft_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto config = switchyard::PeftConfig::Parse(std::string(reinterpret_cast<const char*>(data), size), "fuzz");
  if (!config.ok()) return 0;
  for (int layer = 0; layer < 3; ++layer) {
    for (const char* projection : {"gate_proj", "up_proj", "down_proj"}) {
      const std::string module = "model.layers." + std::to_string(layer) + ".mlp." + projection;
      if (!config->Targets(module, layer)) continue;
      if (config->Rank(module) < 1 || !(config->Scale(module) > 0)) std::abort();
    }
  }
  return 0;
}
