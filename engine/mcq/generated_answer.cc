#include "engine/mcq/generated_answer.h"

#include <algorithm>

#include "engine/mcq/utf8.h"

namespace switchyard {
namespace {

char Upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

size_t FindIgnoringCase(std::string_view text, std::string_view upper_case) {
  const auto same = [](char a, char b) { return Upper(a) == b; };
  const auto found = std::search(text.begin(), text.end(), upper_case.begin(), upper_case.end(), same);
  return found == text.end() ? std::string_view::npos : static_cast<size_t>(found - text.begin());
}

// Letters of any script, as far as it matters behind a single letter: outside ASCII everything but the blocks of signs and punctuation.
bool IsLetter(uint32_t c) {
  if (c < 0x80) return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
  if (c < 0xC0) return c == 0xAA || c == 0xB5 || c == 0xBA;
  const bool sign = c == 0xD7 || c == 0xF7 || (c >= 0x2000 && c < 0x2C00) || (c >= 0x3000 && c < 0x3040) || (c >= 0xFE30 && c < 0xFE70) ||
                    (c >= 0xFF00 && c <= 0xFF20) || (c >= 0x1F000 && c < 0x20000);
  return !sign;
}

}  // namespace

StatusOr<GeneratedJudge> ParseGeneratedJudge(std::string_view name) {
  for (const GeneratedJudge judge : {GeneratedJudge::kLetter, GeneratedJudge::kDense2Moe}) {
    if (name == GeneratedJudgeName(judge)) return judge;
  }
  return InvalidArgument("judge of generated answers: expected letter or dense2moe, found \"%s\"", name);
}

std::string_view GeneratedJudgeName(GeneratedJudge judge) { return judge == GeneratedJudge::kLetter ? "letter" : "dense2moe"; }

std::optional<int> StrictLetter(std::string_view generated, int options) {
  const size_t first = generated.find_first_not_of(" \t\n\v\f\r");
  if (first == std::string_view::npos) return std::nullopt;
  const int option = generated[first] - 'A';
  if (option < 0 || option >= options) return std::nullopt;
  if (first + 1 < generated.size()) {
    const CodePoint next = DecodeCodePoint(generated, first + 1);
    if (next.valid && IsLetter(next.value)) return std::nullopt;
  }
  return option;
}

std::optional<int> Dense2MoeLetter(std::string_view generated) {
  for (const std::string_view marker : {"ANSWER:", "ANSWER :", "ANSWER"}) {
    const size_t at = FindIgnoringCase(generated, marker);
    if (at == std::string_view::npos) continue;
    generated.remove_prefix(at + marker.size());
    break;
  }
  for (const char c : generated) {
    const char upper = Upper(c);
    if (upper >= 'A' && upper <= 'E') return upper - 'A';
  }
  return std::nullopt;
}

GeneratedVerdict JudgeGenerated(const McqQuestion& question, std::string_view generated, GeneratedJudge judge) {
  GeneratedVerdict verdict;
  verdict.option =
      judge == GeneratedJudge::kLetter ? StrictLetter(generated, static_cast<int>(question.options.size())) : Dense2MoeLetter(generated);
  verdict.correct = verdict.option == question.answer;
  verdict.text_fallback = !verdict.correct && generated.find(question.options[question.answer]) != std::string_view::npos;
  return verdict;
}

}  // namespace switchyard
