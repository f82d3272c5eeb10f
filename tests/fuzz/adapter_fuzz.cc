// Any bytes as adapter_model.safetensors, beside a whole adapter_config.json. What is accepted must have the shapes the base asks for.

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "engine/artifact/peft_adapter.h"

namespace {

// One directory a process, removed at exit.
struct Directory {
  std::string path = (std::filesystem::temp_directory_path() / ("adapter_fuzz." + std::to_string(getpid()))).string();
  Directory() {
    std::filesystem::create_directories(path);
    std::ofstream(path + "/adapter_config.json")
        << R"({"peft_type":"LORA","r":1,"lora_alpha":2,"bias":"none","target_modules":["up_proj"]})";
  }
  ~Directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace switchyard;
  static const Directory directory;
  std::ofstream(directory.path + "/adapter_model.safetensors", std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  ModelConfig base;
  base.hidden_size = 2;
  base.intermediate_size = 3;
  base.num_layers = 1;
  for (const bool lenient : {false, true}) {
    const auto adapter = ReadPeftAdapter(directory.path, base, {.allow_attention = lenient, .allow_zero_delta = lenient});
    if (!adapter.ok()) continue;
    if (adapter->layers.size() != 1 || !adapter->layers[0].up || adapter->layers[0].gate) std::abort();
    const LoraPair& up = *adapter->layers[0].up;
    if (up.a.elements() != 2 || up.b.elements() != 3 || up.rank != 1) std::abort();
  }
  return 0;
}
