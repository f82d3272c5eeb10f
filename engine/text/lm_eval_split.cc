#include "engine/text/lm_eval_split.h"

#include <algorithm>
#include <array>
#include <string>

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

StatusOr<LmEvalContext> PrepareLmEval(const Tokenizer& tokenizer, std::string_view context, std::optional<int32_t> prefix_token) {
  LmEvalContext prepared;
  prepared.text = WithoutTrailingBlanks(context);
  prepared.blanks = context.substr(prepared.text.size());
  if (!prepared.text.empty()) {
    ASSIGN_OR_RETURN(prepared.tokens, tokenizer.Encode(prepared.text, /*add_special_tokens=*/false));
  } else if (prefix_token.has_value()) {
    prepared.tokens = {*prefix_token};
  } else {
    return FailedPrecondition("an empty context stands for BOS or EOS, and this model names neither");
  }
  return prepared;
}

StatusOr<LmEvalSplit> SplitLmEval(const Tokenizer& tokenizer, const LmEvalContext& context, std::string_view continuation) {
  LmEvalSplit split{context.tokens, {}};
  const std::string whole = context.text + context.blanks + std::string(continuation);
  ASSIGN_OR_RETURN(split.continuation, tokenizer.Encode(whole, /*add_special_tokens=*/false));
  // The token that stands for an empty context is no part of `whole`.
  const size_t own = context.text.empty() ? 0 : std::min(context.tokens.size(), split.continuation.size());
  split.continuation.erase(split.continuation.begin(), split.continuation.begin() + static_cast<std::ptrdiff_t>(own));
  if (split.continuation.empty()) return InvalidArgument("the continuation has no token of its own after the context");
  return split;
}

}  // namespace switchyard
