// A tokenizer for models that come without one: byte-level BPE over single bytes and pairs of bytes, with ChatML's special tokens and
// template.
#pragma once

#include <cstdint>
#include <string>

#include "engine/base/status.h"

namespace switchyard {

// Writes tokenizer.json and tokenizer_config.json into `directory`. Ids 0, 1 and 2 are <|endoftext|>, <|im_start|> and <|im_end|>, then
// come the 256 bytes, then pairs, printable ones first, as many as `vocabulary` has room for. INVALID_ARGUMENT below 259.
Status WriteByteTokenizer(const std::string& directory, int64_t vocabulary, int64_t max_positions);

}  // namespace switchyard
