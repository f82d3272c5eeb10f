#include "server/request_text.h"

#include <algorithm>
#include <optional>

namespace switchyard {
StatusOr<std::string> RenderChat(const ServedModel& model, const v1::Chat& chat) {
  if (chat.messages().empty()) return InvalidArgument("chat.messages: expected at least one message, found none");
  if (model.chat_template == nullptr) return FailedPrecondition("chat: this model has no chat template; send text or tokens");
  std::vector<ChatTurn> turns;
  for (const v1::ChatMessage& message : chat.messages()) turns.push_back({message.role(), message.content()});
  return model.chat_template->Render(turns, chat.has_add_generation_prompt() ? chat.add_generation_prompt() : true);
}

StatusOr<std::vector<TokenId>> CheckedTokens(const ServedModel& model, const v1::TokenIds& tokens, std::string_view field) {
  const int32_t vocabulary = model.engine->snapshot()->info().vocab_size;
  for (int i = 0; i < tokens.ids_size(); ++i) {
    if (tokens.ids(i) < 0 || tokens.ids(i) >= vocabulary) {
      return InvalidArgument("%s[%d]: expected a token id in [0, %d), found %d", field, i, vocabulary, tokens.ids(i));
    }
  }
  return std::vector<TokenId>(tokens.ids().begin(), tokens.ids().end());
}

Status CheckId(std::string_view id) {
  if (id.size() <= kMaxIdBytes) return OkStatus();
  return InvalidArgument("id: expected at most %d bytes, found %d", kMaxIdBytes, id.size());
}

Status CheckPromptText(const RequestLimits& limits, size_t bytes) {
  if (static_cast<int64_t>(bytes) <= limits.max_prompt_text_bytes) return OkStatus();
  return InvalidArgument("prompt: expected at most %d bytes of text (max_prompt_text_kib), found %d", limits.max_prompt_text_bytes, bytes);
}

StatusOr<TokenId> PrefixToken(const ServedModel& model) {
  const auto snapshot = model.engine->snapshot();
  const SnapshotInfo& info = snapshot->info();
  if (info.bos_token) return *info.bos_token;
  if (!info.eos_tokens.empty()) return info.eos_tokens.front();
  return FailedPrecondition("an empty context stands for BOS or EOS, and this model names neither");
}

StatusOr<LmEvalContext> PrepareLmEval(const ServedModel& model, std::string_view context) {
  const auto prefix = PrefixToken(model);
  return PrepareLmEval(*model.tokenizer, context, prefix.ok() ? std::optional<TokenId>(*prefix) : std::nullopt);
}

StatusOr<LmEvalSplit> SplitJoint(const ServedModel& model, std::string_view context, std::string_view continuation, bool prefix_special) {
  ASSIGN_OR_RETURN(const auto whole, model.tokenizer->EncodeWithOffsets(std::string(context) + std::string(continuation), prefix_special));
  LmEvalSplit split;
  const auto border = static_cast<int32_t>(context.size());
  for (const EncodedToken& token : whole) {
    const bool in_context = split.continuation.empty() && token.end <= border;
    (in_context ? split.context : split.continuation).push_back(token.id);
  }
  if (split.context.empty()) {
    ASSIGN_OR_RETURN(const TokenId prefix, PrefixToken(model));
    split.context = {prefix};
  }
  if (split.continuation.empty()) return InvalidArgument("the continuation has no token of its own after the context");
  return split;
}

int32_t CountCharacters(std::string_view text) {
  return static_cast<int32_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string_view WithoutLeadingBlanks(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\n\r");
  return begin == std::string_view::npos ? std::string_view() : text.substr(begin);
}

}  // namespace switchyard
