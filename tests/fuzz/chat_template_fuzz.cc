// Any bytes as a tokenizer.json (when they begin with a brace) or as a chat template.

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace switchyard;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (input.starts_with("{\"")) {
    auto tokenizer = Tokenizer::Parse(input);
    if (!tokenizer.ok()) return 0;
    auto ids = (*tokenizer)->Encode("The year 2024\n \xf0\x9f\x9a\x80 <|im_end|>", true);
    if (ids.ok()) (void)(*tokenizer)->Decode(*ids, true).ok();
    return 0;
  }
  ChatTemplateOptions options;
  options.fuel = 20'000;
  options.max_output_bytes = 100'000;
  options.local_seconds = 0;
  auto chat = JinjaChatTemplate::Create(input, {{"bos_token", "<s>"}}, options);
  if (chat.ok()) (void)(*chat)->Render({{"system", " be brief "}, {"user", "hello\n"}, {"assistant", ""}}, true).ok();
  return 0;
}
