// From files to a Dataset: records are read, limited, split, written out as prompt and answer, and tokenised as the server's Score
// does it (engine/text/lm_eval_split.h), so that what is trained is what is judged.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/mcq/prompt_template.h"
#include "engine/text/tokenizer.h"
#include "trainer/data/example.h"
#include "trainer/data/records.h"

namespace switchyard::trainer {

// What a question is made into. Pairs and chats are taken as they are, whatever the target.
enum class Target {
  kText,       // "text": the text template, which shows no options; the answer is " " + the right option's text
  kLetter,     // "letter": the letter template, which shows them; the answer is " C"
  kBoth,       // "both": an example of each
  kDense2Moe,  // "dense2moe": that source's own prompt and target (engine/mcq/dense2moe_prompt.h); no template is used
};
StatusOr<Target> ParseTarget(std::string_view name);

struct DataOptions {
  std::vector<DataSource> sources;  // several may name one domain
  Target target = Target::kText;
  PromptTemplates templates = PromptTemplates::Default();
  // Whether `eos_token` ends the answer. Unset: for pairs, where the model must learn to stop; not for questions, whose options are
  // compared without it.
  std::optional<bool> append_eos;
  // Writes chats out, and with them the end of the answer's turn (not when append_eos is false). Null: chats are left out as bad.
  std::shared_ptr<const ChatTemplate> chat_template;
  std::optional<int32_t> bos_token, eos_token;  // of the model's configuration; BOS, else EOS, stands for an empty prompt
  int64_t max_tokens = 1024;                    // prompt and answer together; a longer example is left out and counted
  int64_t max_records = 0;                      // of each source; 0: all
  bool sample_records = false;                  // max_records of them drawn by the seed, else the first ones
  uint64_t seed = 1;
};

// INVALID_ARGUMENT when an option makes no sense or a source has no record that can be used; what reading the files gives, with the
// domain's name in front; FAILED_PRECONDITION when a token is needed that the model does not have.
StatusOr<Dataset> LoadDataset(const DataOptions& options, const Tokenizer& tokenizer);

struct TrainAndValid {
  Dataset train;  // its `bad` has the records that could not be read
  Dataset valid;
};
// The same, with `valid_fraction` (above 0, below 1) of each domain's different prompts held out, at least one. Which, depends on seed and
// prompt alone, not on the order of the files; equal prompts stay together. INVALID_ARGUMENT when a domain has but one prompt.
StatusOr<TrainAndValid> LoadTrainAndValid(const DataOptions& options, double valid_fraction, const Tokenizer& tokenizer);

// For people: examples and tokens of each domain, and what DescribeLeftOut says.
std::string DescribeDataset(const Dataset& dataset, int shown = 10);
// How many records were left out, and the first `shown` of them with file, line and reason; "" when none was.
std::string DescribeLeftOut(const Dataset& dataset, int shown = 10);

}  // namespace switchyard::trainer
