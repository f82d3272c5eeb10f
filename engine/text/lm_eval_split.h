// Where a context ends and its continuation begins, in tokens, by the rule of lm-evaluation-harness: blanks at the context's end belong to
// the continuation; the context is encoded alone, the whole is encoded together, and the continuation is what the whole has beyond the
// context's number of tokens. No special tokens are added.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/text/tokenizer.h"

namespace switchyard {

struct LmEvalSplit {
  std::vector<int32_t> context;       // >= 1 token
  std::vector<int32_t> continuation;  // >= 1 token
};

// `prefix_token` (BOS, else EOS) stands for a context of blanks only. INVALID_ARGUMENT: not UTF-8, or no token of the continuation's own;
// FAILED_PRECONDITION: such a context, and no prefix token.
StatusOr<LmEvalSplit> SplitAsLmEval(const Tokenizer& tokenizer, std::string_view context, std::string_view continuation,
                                    std::optional<int32_t> prefix_token);

}  // namespace switchyard
