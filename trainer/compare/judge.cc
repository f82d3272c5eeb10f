#include "trainer/compare/judge.h"

namespace switchyard::trainer {

const std::array<std::string_view, kJudgeCount> kJudgeNames = {"sum", "token", "char", "byte", "pmi", "letter"};

namespace {

std::optional<double> Over(double sum, int64_t size) {
  if (size < 1) return std::nullopt;
  return sum / static_cast<double>(size);
}

std::optional<double> FigureOf(Judge judge, const OptionFigures& option) {
  switch (judge) {
    case kJudgeSum:
      return option.sum;
    case kJudgeToken:
      return Over(option.sum, option.tokens);
    case kJudgeCharacter:
      return Over(option.sum, option.characters);
    case kJudgeByte:
      return Over(option.sum, option.bytes);
    case kJudgePmi:
      return option.prior ? std::optional(option.sum - *option.prior) : std::nullopt;
    case kJudgeLetter:
    case kJudgeCount:
      return option.letter;
  }
  return std::nullopt;
}

}  // namespace

StatusOr<Judge> ParseJudge(std::string_view name) {
  for (int judge = 0; judge < kJudgeCount; ++judge) {
    if (kJudgeNames[judge] == name) return static_cast<Judge>(judge);
  }
  return InvalidArgument("--judge: expected sum, token, char, byte, pmi or letter, found %s", name);
}

std::optional<int> Winner(Judge judge, std::span<const OptionFigures> options) {
  std::optional<int> best;
  std::optional<double> highest;
  for (size_t i = 0; i < options.size(); ++i) {
    const auto figure = FigureOf(judge, options[i]);
    if (!figure) return std::nullopt;
    if (highest && *figure <= *highest) continue;
    highest = figure;
    best = static_cast<int>(i);
  }
  return best;
}

}  // namespace switchyard::trainer
