// Where a context ends and its continuation begins, in tokens, by the rule of lm-evaluation-harness: blanks at the context's end belong to
// the continuation; the context is encoded alone, the whole is encoded together, and the continuation is what the whole has beyond the
// context's number of tokens. No special tokens are added.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/text/tokenizer.h"

namespace switchyard {

struct LmEvalSplit {
  std::vector<int32_t> context;       // >= 1 token
  std::vector<int32_t> continuation;  // >= 1 token
};

// What the rule makes of a context whatever follows it, worked out once for all its continuations.
struct LmEvalContext {
  std::string text;             // without trailing blanks
  std::string blanks;           // those: they go in front of every continuation
  std::vector<int32_t> tokens;  // >= 1: of `text` alone, or what stands for an empty one
};

// `prefix_token` (BOS, else EOS) stands for a context of blanks only. INVALID_ARGUMENT: not UTF-8; FAILED_PRECONDITION: such a context, and
// no prefix token.
StatusOr<LmEvalContext> PrepareLmEval(const Tokenizer& tokenizer, std::string_view context, std::optional<int32_t> prefix_token);

// INVALID_ARGUMENT: not UTF-8, or no token of the continuation's own.
StatusOr<LmEvalSplit> SplitLmEval(const Tokenizer& tokenizer, const LmEvalContext& context, std::string_view continuation);

}  // namespace switchyard
