#include "engine/mcq/prompt_template.h"

#include <optional>
#include <set>
#include <vector>

#include "engine/mcq/lines.h"
#include "engine/mcq/utf8.h"

namespace switchyard {
namespace {

constexpr size_t kMaxTemplateBytes = size_t{4} << 20;
constexpr std::string_view kPlaceholders[] = {"question", "options", "letters", "context"};

std::string Letter(size_t index) { return std::string(1, static_cast<char>('A' + index)); }

std::string OptionLines(const McqQuestion& question) {
  std::string lines;
  for (size_t i = 0; i < question.options.size(); ++i) {
    if (i > 0) lines += '\n';
    lines += Letter(i) + ". " + question.options[i];
  }
  return lines;
}

std::string Letters(const McqQuestion& question) {
  const size_t count = question.options.size();
  std::string letters;
  for (size_t i = 0; i < count; ++i) {
    if (i > 0) letters += i + 1 == count ? " or " : ", ";
    letters += Letter(i);
  }
  return letters;
}

std::string Value(std::string_view name, const McqQuestion& question) {
  if (name == "question") return question.question;
  if (name == "options") return OptionLines(question);
  if (name == "letters") return Letters(question);
  return question.context;
}

// The name of the placeholder that begins at text[at] ('{'), or nothing when it is a lone brace.
std::optional<std::string_view> PlaceholderAt(std::string_view text, size_t at) {
  const size_t close = text.find('}', at);
  if (close == std::string_view::npos) return std::nullopt;
  return text.substr(at + 1, close - at - 1);
}

Status CheckTemplate(std::string_view text, std::string_view section, const std::string& file) {
  bool has_question = false;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text.substr(at, 2) == "{{" || text.substr(at, 2) == "}}") {
      ++at;
    } else if (text[at] == '}') {
      return InvalidArgument("%s: section %s: a lone \"}\"; write \"}}\" for a brace", file, section);
    } else if (text[at] == '{') {
      const auto name = PlaceholderAt(text, at);
      bool known = false;
      for (const std::string_view placeholder : kPlaceholders) known = known || name == placeholder;
      if (!known) {
        return InvalidArgument("%s: section %s: expected {question}, {options}, {letters}, {context} or \"{{\", found \"{%s\"", file,
                               section, name.value_or("").substr(0, 20));
      }
      has_question = has_question || name == "question";
      at += name->size() + 1;
    }
  }
  if (!has_question) return InvalidArgument("%s: section %s: {question} is missing", file, section);
  return OkStatus();
}

// The name in "=== name ===", or nothing.
std::optional<std::string_view> SectionName(std::string_view line) {
  if (line.size() < 8 || line.substr(0, 4) != "=== " || line.substr(line.size() - 4) != " ===") return std::nullopt;
  return line.substr(4, line.size() - 8);
}

void DropLineBreaksAtEnd(std::string* text) {
  while (!text->empty() && (text->back() == '\n' || text->back() == '\r')) text->pop_back();
}

Status ReadSections(std::string_view text, const std::string& file, PromptTemplates* templates, std::string* outside) {
  std::set<std::string, std::less<>> seen;
  std::string* target = outside;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    at = end + 1;
    const auto name = SectionName(line);
    if (!name.has_value()) {
      target->append(line).append("\n");
      continue;
    }
    if (*name == "letter") {
      target = &templates->letter;
    } else if (*name == "text") {
      target = &templates->text;
    } else if (*name == "unconditional") {
      target = &templates->unconditional;
    } else {
      return InvalidArgument("%s: a section is letter, text or unconditional, found \"%s\"", file, *name);
    }
    if (!seen.emplace(*name).second) return InvalidArgument("%s: section %s is given twice", file, *name);
    target->clear();
  }
  if (seen.empty()) {
    templates->letter = templates->text = *outside;
  } else if (outside->find_first_not_of(" \r\n") != std::string::npos) {
    return InvalidArgument("%s: text before the first section line", file);
  }
  return OkStatus();
}

}  // namespace

PromptTemplates PromptTemplates::Default() {
  return {"{context}\n\nQuestion: {question}\n{options}\nAnswer:", "{context}\n\nQuestion: {question}\nAnswer:", "Answer:"};
}

StatusOr<PromptTemplates> ParseTemplates(std::string_view file_text, const std::string& file) {
  if (!IsValidUtf8(file_text)) return InvalidArgument("%s: not UTF-8", file);
  PromptTemplates templates = PromptTemplates::Default();
  std::string outside;
  RETURN_IF_ERROR(ReadSections(file_text, file, &templates, &outside));
  for (std::string* text : {&templates.letter, &templates.text, &templates.unconditional}) DropLineBreaksAtEnd(text);
  RETURN_IF_ERROR(CheckTemplate(templates.letter, "letter", file));
  RETURN_IF_ERROR(CheckTemplate(templates.text, "text", file));
  return templates;
}

StatusOr<PromptTemplates> ReadTemplates(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path, kMaxTemplateBytes));
  return ParseTemplates(text, path);
}

std::string RenderPrompt(std::string_view prompt_template, const McqQuestion& question) {
  std::string prompt;
  for (size_t at = 0; at < prompt_template.size(); ++at) {
    const std::string_view two = prompt_template.substr(at, 2);
    if (two == "{{" || two == "}}") {
      prompt += prompt_template[at++];
      continue;
    }
    const auto name = prompt_template[at] == '{' ? PlaceholderAt(prompt_template, at) : std::nullopt;
    if (!name.has_value()) {
      prompt += prompt_template[at];
      continue;
    }
    const std::string value = Value(*name, question);
    prompt += value;
    at += name->size() + 1;
    if (*name == "context" && value.empty()) {
      while (at + 1 < prompt_template.size() && prompt_template[at + 1] == '\n') ++at;
    }
  }
  return prompt;
}

}  // namespace switchyard
