// What ChatTemplate (engine/text/tokenizer.h) is made of. Used by this room and its tests; others use ChatTemplate::Load.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/rust_bridge.h"
#include "engine/text/tokenizer.h"

namespace switchyard {

struct ChatTemplateOptions {
  // One unit is about one template step or 64 bytes of text made, so this bounds time (a second or two) and memory (256 MB) of a hostile
  // template.
  uint64_t fuel = 4'000'000;
  size_t max_output_bytes = size_t{16} << 20;
  // What strftime_now takes for the local time, in seconds since 1970 on the local clock. Unset: the real clock.
  std::optional<int64_t> local_seconds = std::nullopt;
};

// A template compiled by minijinja with transformers' settings. Immutable and thread-safe.
class JinjaChatTemplate : public ChatTemplate {
 public:
  // `special_tokens`: variables by name, such as {"bos_token", "<s>"}. DATA_LOSS (with the line) when `source` does not parse.
  static StatusOr<std::shared_ptr<const JinjaChatTemplate>> Create(std::string_view source,
                                                                   std::map<std::string, std::string> special_tokens,
                                                                   const ChatTemplateOptions& options);

  StatusOr<std::string> Render(const std::vector<ChatTurn>& messages, bool add_generation_prompt) const override;

  // `variables_json` is the whole context besides the special tokens, with keys kept in order. INVALID_ARGUMENT when the template refuses
  // or fails; RESOURCE_EXHAUSTED when it runs into a limit.
  StatusOr<std::string> RenderVariables(std::string_view variables_json) const;

 private:
  JinjaChatTemplate(SwtTemplate* handle, std::map<std::string, std::string> special_tokens, std::optional<int64_t> local_seconds)
      : handle_(handle), special_tokens_(std::move(special_tokens)), local_seconds_(local_seconds) {}

  StatusOr<std::string> RenderContext(std::string_view context_json) const;

  std::unique_ptr<SwtTemplate, rust::Deleter> handle_;
  std::map<std::string, std::string> special_tokens_;
  std::optional<int64_t> local_seconds_;
};

}  // namespace switchyard
