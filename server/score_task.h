// A ScoreRequest made ready for the engine: checked, tokenised, laid out.
#pragma once

#include <string>
#include <vector>

#include "server/call_common.h"
#include "switchyard/v1/inference.pb.h"

namespace switchyard {

// The task, and what the reply needs besides the engine's result.
struct PreparedScore {
  ScoreTask task;
  std::vector<std::vector<TokenId>> continuations;  // scored tokens of each
  std::vector<std::string> texts;                   // of each, as counted by the normalisations
  std::vector<int32_t> context_tokens;
  bool has_unconditional = false;
  int64_t truncated_tokens = 0;
};

// On a worker. A context is encoded once by itself and, where it is text, once more joined to each continuation: the work is bounded by
// limits.max_score_text_bytes, known before the first encoding, and ends between two continuations with CANCELLED once `terms.link` is
// cancelled and with DEADLINE_EXCEEDED once `terms.deadline` has passed.
StatusOr<PreparedScore> PrepareScore(const CallContext& context, const v1::ScoreRequest& request, const CallTerms& terms);

}  // namespace switchyard
