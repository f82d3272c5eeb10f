// Text <-> tokens and chat templates, exactly as Hugging Face does it: a C++ face over one Rust static library (tokenizers, minijinja).
// No torch, no gRPC.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/base/status.h"

namespace switchyard {

struct EncodedToken {
  int32_t id = 0;
  int32_t begin = 0;  // byte offsets into the text; tokens the post-processor adds have begin == end
  int32_t end = 0;
};

// Incremental decoding of one sequence. Not thread-safe; keeps the tokenizer alive.
class DecodeStream {
 public:
  virtual ~DecodeStream() = default;
  // The text that became complete with this token: whole UTF-8 characters, possibly "".
  virtual StatusOr<std::string> Step(int32_t token) = 0;
  // What an incomplete tail still holds (may contain U+FFFD). Ends the stream.
  virtual StatusOr<std::string> Flush() = 0;
};

// Immutable and thread-safe after loading.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  // Reads tokenizer.json. DATA_LOSS when it is broken, NOT_FOUND when it is absent. What is put around a text is its post-processor's
  // business alone: transformers, too, ignores tokenizer_config.json's add_bos_token when there is a tokenizer.json. Truncation and padding
  // are off.
  static StatusOr<std::shared_ptr<const Tokenizer>> Load(const std::string& directory);
  // The same from the file's text.
  static StatusOr<std::shared_ptr<const Tokenizer>> Parse(std::string_view json);

  // INVALID_ARGUMENT (with the byte position) when text is not valid UTF-8. add_special_tokens: the post-processor's BOS and the like.
  // Special tokens written in the text are always recognised, as in Hugging Face's __call__.
  virtual StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool add_special_tokens) const = 0;
  virtual StatusOr<std::vector<EncodedToken>> EncodeWithOffsets(std::string_view text, bool add_special_tokens) const = 0;
  // Ids outside the vocabulary decode to nothing, as in Hugging Face; negative ones are INVALID_ARGUMENT. transformers' clean-up of blanks
  // is not applied (it changes the text, and transformers itself leaves it off for byte-level BPE).
  virtual StatusOr<std::string> Decode(const std::vector<int32_t>& tokens, bool skip_special_tokens) const = 0;
  virtual std::unique_ptr<DecodeStream> NewDecodeStream(bool skip_special_tokens) const = 0;
  virtual int32_t vocab_size() const = 0;  // added tokens included
  virtual std::optional<int32_t> TokenToId(std::string_view token) const = 0;
};

struct ChatTurn {
  std::string role;
  std::string content;
};

// Immutable and thread-safe. A fuel limit and an output limit bound hostile templates.
class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;
  // chat_template.jinja, else tokenizer_config.json's chat_template (a string, or the list form's "default"). NOT_FOUND when there is none.
  static StatusOr<std::shared_ptr<const ChatTemplate>> Load(const std::string& directory);
  // `special_tokens` come from tokenizer_config.json. INVALID_ARGUMENT carries raise_exception's text.
  virtual StatusOr<std::string> Render(const std::vector<ChatTurn>& messages, bool add_generation_prompt) const = 0;
};

}  // namespace switchyard
