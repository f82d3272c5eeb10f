// Which option a generated answer names, by two rules.
//
//   letter     Ours, strict. The first character that is not blank must be the letter of an option, as the prompt lists it (upper case),
//              and no letter may follow it: " C", "C.", "C) because" name C; "Because", "(C)", "The answer is C", "c" name nothing.
//   dense2moe  Dense2MoE's. When the text contains "ANSWER:", else "ANSWER :", else "ANSWER" (in any case), what stands before and in its
//              first occurrence is dropped. Then the first character that is a to e, in either case, anywhere, is the letter: "Because I
//              know" names B, "The third" names E, "Answer: none" names E. It is kept as it is, so that figures can be compared.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "engine/base/status.h"
#include "engine/mcq/mcq.h"

namespace switchyard {

enum class GeneratedJudge { kLetter, kDense2Moe };

// "letter" or "dense2moe"; INVALID_ARGUMENT for anything else.
StatusOr<GeneratedJudge> ParseGeneratedJudge(std::string_view name);
std::string_view GeneratedJudgeName(GeneratedJudge judge);

// Index of the named option (A is 0); nothing when none is named. dense2moe may name E of a question with four options.
std::optional<int> StrictLetter(std::string_view generated, int options);
std::optional<int> Dense2MoeLetter(std::string_view generated);

struct GeneratedVerdict {
  std::optional<int> option;
  bool correct = false;        // the letter is the right one: Dense2MoE's `accuracy`
  bool text_fallback = false;  // it is not, but the right option's text occurs in the output: its `accuracy_text`
};
GeneratedVerdict JudgeGenerated(const McqQuestion& question, std::string_view generated, GeneratedJudge judge);

}  // namespace switchyard
