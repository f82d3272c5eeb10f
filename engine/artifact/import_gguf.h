// Turns a GGUF file into a Hugging Face model directory: config.json, generation_config.json, model.safetensors, tokenizer.json and
// tokenizer_config.json. Quantised weights are written as floats, so nothing is lost that the file had.
#pragma once

#include <string>

#include "engine/artifact/gguf.h"
#include "engine/artifact/tensor_view.h"
#include "engine/base/status.h"

namespace switchyard {

struct ImportedModel {
  std::string architecture;  // "llama", "qwen2", "qwen3"
  int64_t layers = 0;
  int64_t parameters = 0;
  int64_t vocabulary = 0;
  bool tied_head = false;
};

// Architectures llama, qwen2 and qwen3 with a byte-level BPE vocabulary; everything else is UNIMPLEMENTED by name, and so is every metadata
// key that would change the mathematics. Every tensor of the file must be one the architecture has (DATA_LOSS otherwise), with the shape it
// should have and finite values. `dtype` is kBF16 or kF32.
// The directory is written beside `directory` and renamed when whole; ALREADY_EXISTS when it is there. Needs memory for all weights at
// `dtype`.
StatusOr<ImportedModel> ImportGguf(const std::string& gguf_path, const std::string& directory, DType dtype);
StatusOr<ImportedModel> ImportGguf(const GgufFile& file, const std::string& directory, DType dtype);

}  // namespace switchyard
