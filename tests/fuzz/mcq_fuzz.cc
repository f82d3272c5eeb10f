// The readers of multiple-choice files and of prompt templates. The first byte chooses the format; what comes out of a reader must keep the
// promises of engine/mcq/mcq.h, and can be put into a prompt.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "engine/mcq/mcq.h"
#include "engine/mcq/prompt_template.h"
#include "engine/mcq/utf8.h"

using switchyard::McqFormat;
using switchyard::McqQuestion;

namespace {

void CheckPromises(const McqQuestion& question) {
  if (question.options.size() < 2 || question.options.size() > switchyard::kMaxMcqOptions) std::abort();
  if (question.answer < 0 || question.answer >= static_cast<int>(question.options.size())) std::abort();
  if (question.id.empty() || question.line < 1) std::abort();
  if (!switchyard::IsValidUtf8(switchyard::RenderPrompt(switchyard::PromptTemplates::Default().letter, question))) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  if (data[0] == 't') {
    const auto templates = switchyard::ParseTemplates(text, "fuzz.txt");
    McqQuestion question;
    question.question = "Q?";
    question.options = {"a", "b"};
    if (templates.ok()) switchyard::RenderPrompt(templates->letter, question);
    return 0;
  }
  McqFormat format = McqFormat::kAuto;
  switch (data[0]) {
    case '1':
      format = McqFormat::kMedMcqa;
      break;
    case '2':
      format = McqFormat::kCaseHold;
      break;
    case '3':
      format = McqFormat::kMathQa;
      break;
    case '4':
      format = McqFormat::kMmlu;
      break;
    case '6':
      format = McqFormat::kFreeCodeCamp;
      break;
    case '5':
      format = McqFormat::kJsonl;
      break;
    default:
      break;
  }
  const auto set = switchyard::ParseMcq(text, format, "fuzz.csv");
  if (!set.ok()) return 0;
  for (const McqQuestion& question : set->questions) CheckPromises(question);
  return 0;
}
