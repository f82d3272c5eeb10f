// tokenizer.json and tokenizer_config.json out of a GGUF file's metadata.
#pragma once

#include "engine/artifact/gguf.h"
#include "engine/base/status.h"
#include "nlohmann/json_fwd.hpp"

namespace switchyard {

// Byte-level BPE only (tokenizer.ggml.model "gpt2"), with the pre-tokenizers smollm, llama-bpe, qwen2, gpt-2 and default (the same as
// gpt-2); another one is UNIMPLEMENTED by name. DATA_LOSS for duplicate tokens, merges of unknown tokens and ids outside the vocabulary.
StatusOr<nlohmann::json> TokenizerJson(const GgufFile& file);
StatusOr<nlohmann::json> TokenizerConfigJson(const GgufFile& file, int64_t max_positions);

}  // namespace switchyard
