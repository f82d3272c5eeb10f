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

StatusOr<LmEvalSplit> SplitAsLmEval(const Tokenizer& tokenizer, std::string_view context, std::string_view continuation,
                                    std::optional<int32_t> prefix_token) {
  const std::string_view text = WithoutTrailingBlanks(context);
  LmEvalSplit split;
  const std::string whole = std::string(context) + std::string(continuation);
  ASSIGN_OR_RETURN(split.continuation, tokenizer.Encode(whole, /*add_special_tokens=*/false));
  size_t own = 0;  // tokens of `whole` that are the context's; its prefix token is no part of it
  if (!text.empty()) {
    ASSIGN_OR_RETURN(split.context, tokenizer.Encode(text, /*add_special_tokens=*/false));
    own = split.context.size();
  } else if (prefix_token.has_value()) {
    split.context = {*prefix_token};
  } else {
    return FailedPrecondition("an empty context stands for BOS or EOS, and this model names neither");
  }
  own = std::min(own, split.continuation.size());
  split.continuation.erase(split.continuation.begin(), split.continuation.begin() + static_cast<std::ptrdiff_t>(own));
  if (split.continuation.empty()) return InvalidArgument("the continuation has no token of its own after the context");
  return split;
}

}  // namespace switchyard
