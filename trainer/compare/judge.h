// The judges of `switchyard eval`, over log-probabilities in this process: which option wins by each.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "engine/base/status.h"

namespace switchyard::trainer {

enum Judge { kJudgeSum, kJudgeToken, kJudgeCharacter, kJudgeByte, kJudgePmi, kJudgeLetter, kJudgeCount };
extern const std::array<std::string_view, kJudgeCount>
    kJudgeNames;  // as --judge of the client names them: sum, token, char, byte, pmi, letter
StatusOr<Judge> ParseJudge(std::string_view name);

// One option of one question.
struct OptionFigures {
  double sum = 0;                  // log-probability of the option's text
  int64_t tokens = 0;              // of the text
  int64_t characters = 0;          // without blanks in front
  int64_t bytes = 0;               // the same
  std::optional<double> prior{};   // log-probability without the question, for pmi
  std::optional<double> letter{};  // log-probability of its letter after the prompt that shows the options
};

// The first of the best options; absent where the figure is not defined for one of them.
std::optional<int> Winner(Judge judge, std::span<const OptionFigures> options);

}  // namespace switchyard::trainer
