// How a question becomes a prompt. A template is text with placeholders:
//   {question}   the question
//   {options}    one line an option: "A. text"
//   {letters}    "A, B, C or D"
//   {context}    the passage of the question; without one it vanishes together with the line breaks that follow it
//   {{ and }}    a brace
#pragma once

#include <string>
#include <string_view>

#include "engine/base/status.h"
#include "engine/mcq/mcq.h"

namespace switchyard {

struct PromptTemplates {
  std::string letter;         // shows the options; the continuations are " A", " B", ...
  std::string text;           // the continuations are " " + the text of each option
  std::string unconditional;  // the context of PMI's second term; no placeholders

  // What is used without --template:
  //   letter         {context}\n\nQuestion: {question}\n{options}\nAnswer:
  //   text           {context}\n\nQuestion: {question}\nAnswer:
  //   unconditional  Answer:
  static PromptTemplates Default();
};

// A template file. Lines "=== letter ===", "=== text ===" and "=== unconditional ===" begin its sections, a section that is not there keeps
// its default; a file without such lines is the template of both judges. Line breaks at the end of a section are dropped. INVALID_ARGUMENT:
// an unknown section or placeholder, a section given twice, a prompt without {question}.
StatusOr<PromptTemplates> ParseTemplates(std::string_view file_text, const std::string& file);

// The same out of a file. NOT_FOUND when it cannot be opened, RESOURCE_EXHAUSTED beyond 4 MiB.
StatusOr<PromptTemplates> ReadTemplates(const std::string& path);

// REQUIRES: a template out of ParseTemplates or Default().
std::string RenderPrompt(std::string_view prompt_template, const McqQuestion& question);

}  // namespace switchyard
