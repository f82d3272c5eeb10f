#include "server/request_text.h"

#include <algorithm>
#include <array>

namespace switchyard {
namespace {

// What Python's str.rstrip takes for blank, which is what lm-evaluation-harness strips with.
constexpr std::array<std::string_view, 29> kBlanks = {" ",      "\t",     "\n",     "\v",     "\f",     "\r",     "\x1c",   "\x1d",
                                                      "\x1e",   "\x1f",   "\u0085", "\u00a0", "\u1680", "\u2000", "\u2001", "\u2002",
                                                      "\u2003", "\u2004", "\u2005", "\u2006", "\u2007", "\u2008", "\u2009", "\u200a",
                                                      "\u2028", "\u2029", "\u202f", "\u205f", "\u3000"};

std::string_view WithoutTrailingBlanks(std::string_view text) {
  for (;;) {
    const auto blank = std::find_if(kBlanks.begin(), kBlanks.end(), [&](std::string_view b) { return text.ends_with(b); });
    if (blank == kBlanks.end()) return text;
    text.remove_suffix(blank->size());
  }
}

}  // namespace

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

StatusOr<TokenId> PrefixToken(const ServedModel& model) {
  const auto snapshot = model.engine->snapshot();
  const SnapshotInfo& info = snapshot->info();
  if (info.bos_token) return *info.bos_token;
  if (!info.eos_tokens.empty()) return info.eos_tokens.front();
  return FailedPrecondition("an empty context stands for BOS or EOS, and this model names neither");
}

StatusOr<LmEvalContext> PrepareLmEval(const ServedModel& model, std::string_view context) {
  LmEvalContext prepared;
  prepared.text = WithoutTrailingBlanks(context);
  prepared.blanks = context.substr(prepared.text.size());
  if (prepared.text.empty()) {
    ASSIGN_OR_RETURN(const TokenId prefix, PrefixToken(model));
    prepared.tokens = {prefix};
  } else {
    ASSIGN_OR_RETURN(prepared.tokens, model.tokenizer->Encode(prepared.text, /*add_special_tokens=*/false));
  }
  return prepared;
}

StatusOr<SplitTokens> SplitLmEval(const ServedModel& model, const LmEvalContext& context, std::string_view continuation) {
  SplitTokens split{context.tokens, {}};
  const std::string whole = context.text + context.blanks + std::string(continuation);
  ASSIGN_OR_RETURN(split.continuation, model.tokenizer->Encode(whole, /*add_special_tokens=*/false));
  // Without a text of its own the context's token is no part of `whole`.
  const size_t own = context.text.empty() ? 0 : context.tokens.size();
  split.continuation.erase(split.continuation.begin(), split.continuation.begin() + std::min(split.continuation.size(), own));
  if (split.continuation.empty()) return InvalidArgument("the continuation has no token of its own after the context");
  return split;
}

StatusOr<SplitTokens> SplitJoint(const ServedModel& model, std::string_view context, std::string_view continuation, bool prefix_special) {
  ASSIGN_OR_RETURN(const auto whole, model.tokenizer->EncodeWithOffsets(std::string(context) + std::string(continuation), prefix_special));
  SplitTokens split;
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
