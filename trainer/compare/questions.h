// The questions a comparison asks, tokenised as the server's Score does it (engine/text/lm_eval_split.h), so that the judges see the same
// figures.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/mcq/mcq.h"
#include "engine/mcq/prompt_template.h"
#include "engine/runtime/tasks.h"
#include "engine/text/tokenizer.h"

namespace switchyard::trainer {

struct Question {
  int answer = 0;
  std::vector<ScoreItem> text;             // an item an option
  std::vector<ScoreItem> prior;            // the same after the unconditional prompt; empty unless asked for
  std::vector<ScoreItem> letter;           // an item an option; empty unless asked for
  std::vector<int64_t> characters, bytes;  // [options]
};

struct QuestionSet {
  std::string name;  // the domain
  std::vector<Question> questions;
  std::vector<BadRecord> left_out;  // records that could not be read, were too long, or had no token of their own
};

struct QuestionOptions {
  std::vector<std::string> sources;  // [DOMAIN=]PATH; one domain a source
  PromptTemplates templates = PromptTemplates::Default();
  bool with_prior = false;
  bool with_letter = false;
  int64_t max_records = 0;  // of each set, drawn by the seed; 0: all
  int64_t max_tokens = 512;
  uint64_t seed = 1;
  std::optional<int32_t> prefix_token;  // what stands for an empty prompt
};

// INVALID_ARGUMENT: two sources of one domain, or one without a usable question; and what reading the files gives.
StatusOr<std::vector<QuestionSet>> ReadQuestions(const QuestionOptions& options, const Tokenizer& tokenizer);

}  // namespace switchyard::trainer
