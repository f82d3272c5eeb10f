// An evaluation as tables for people (screen, Markdown) and as an object for programs.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/eval_run.h"
#include "client/eval_table.h"

namespace switchyard::client {

// All that a report is made of; borrowed.
struct EvalReport {
  const std::vector<EvalRow>& rows;
  const std::vector<EvalSet>& sets;
  const std::vector<EvalTarget>& targets;
  const EvalAnswers& answers;
  const EvalOutcome& outcome;
  std::vector<int> judges;  // in the order of their tables
  std::optional<std::pair<size_t, size_t>> compare;
  bool brief = false;  // on the screen: the first judge's table, and of the others the averages
};

std::string EvalScreen(const EvalReport& report, const Style& style);
std::string EvalMarkdown(const EvalReport& report);
// With a line break at its end.
std::string EvalJson(const EvalReport& report);

}  // namespace switchyard::client
