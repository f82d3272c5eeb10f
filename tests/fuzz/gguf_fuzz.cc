// Any bytes as a GGUF file: parsed, all tensors read, and taken for a model and a tokenizer.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/artifact/gguf.h"
#include "engine/artifact/import_model.h"
#include "engine/artifact/import_tokenizer.h"
#include "nlohmann/json.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace switchyard;
  auto bytes = std::make_shared<const std::string>(reinterpret_cast<const char*>(data), size);
  auto file = GgufFile::Parse(bytes, "fuzz");
  if (!file.ok()) return 0;
  for (const auto& [name, tensor] : (*file)->tensors()) {
    std::vector<float> values(static_cast<size_t>(tensor.elements()));
    Dequantize(tensor.type, tensor.data, values);
  }
  auto model = ReadGgufModel(**file);
  if (model.ok()) {
    TensorRules(*model);
    (void)ConfigJson(**file, *model, "float32").ok();
  }
  (void)TokenizerJson(**file).ok();
  (void)TokenizerConfigJson(**file, 1).ok();
  return 0;
}
