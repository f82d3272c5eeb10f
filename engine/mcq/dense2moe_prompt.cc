#include "engine/mcq/dense2moe_prompt.h"

#include <string_view>

#include "engine/mcq/prompt_template.h"

namespace switchyard {
namespace {

constexpr std::string_view kTemplate =
    "<|begin_of_text|>\n\n<|start_header_id|>user<|end_header_id|>\n\n"
    "Read the question and choose the one right option among {letters}. Reply in this layout:\n"
    "Answer: <letter>\n"
    "Explanation: <why it is right>\n\n"
    "{context}\n\nQuestion: {question}\n{options}\n\n"
    "<|eot_id|>\n\n<|start_header_id|>assistant<|end_header_id|>\n\n";

}  // namespace

std::string Dense2MoePrompt(const McqQuestion& question) { return RenderPrompt(kTemplate, question); }

std::string Dense2MoeTarget(const McqQuestion& question) {
  const char letter = static_cast<char>('A' + question.answer);
  std::string target = std::string(kDense2MoeAnswerStart) + " " + letter + ". " + question.options[question.answer];
  if (!question.explanation.empty()) target += "\n\nExplanation: " + question.explanation;
  return target + "<|eot_id|>";
}

}  // namespace switchyard
