// Numbers of an evaluation: accuracy by row and set, macro averages, and paired differences of two rows.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "client/eval_state.h"

namespace switchyard::client {

struct EvalCell {
  int64_t n = 0;
  int64_t correct = 0;
  double accuracy() const { return n > 0 ? static_cast<double>(correct) / static_cast<double>(n) : 0; }
};

struct EvalMean {
  double accuracy = 0;
  double half_width = 0;  // 95 %, normal approximation for a mean of independent proportions
};

// On the questions that both rows answered.
struct EvalPaired {
  int64_t n = 0;
  int64_t only_first = 0;   // right in the first row alone
  int64_t only_second = 0;  // right in the second row alone
  double difference = 0;    // accuracy of the first minus that of the second
  double half_width = 0;    // 95 %, normal approximation
  double p = 1;             // exact McNemar test, two-sided
};

EvalCell Cell(const EvalAnswers& answers, size_t row, size_t set, int judge);
// Half of Wilson's 95 % interval; nothing without answers.
std::optional<double> HalfWidth(const EvalCell& cell);
// Mean over the sets, each with the same weight; nothing while one has no answers.
std::optional<EvalMean> Mean(const std::vector<EvalCell>& cells);
// Over all questions of set `set`, or of all sets when it is absent.
EvalPaired Compare(const EvalAnswers& answers, size_t first, size_t second, std::optional<size_t> set, int judge);

}  // namespace switchyard::client
