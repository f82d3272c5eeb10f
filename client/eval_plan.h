// What an evaluation asks: rows (ways of routing), columns (sets of questions) and judges.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "client/mcq_judge.h"
#include "engine/base/status.h"
#include "engine/mcq/mcq.h"
#include "switchyard/v1/inference.pb.h"

namespace switchyard::client {

// A way of routing. `oracle` answers each set with the expert of the set's name, and with the base where there is none.
struct EvalRow {
  std::string label;
  std::string routing;  // as it was written
  bool oracle = false;
  v1::Routing parsed;                // unless oracle
  std::vector<std::string> servers;  // its own addresses; empty: those of --server
};

struct EvalSet {
  std::string name;
  McqSet data;
};

// The judges of mcq_judge.h, and rules for generated answers (engine/mcq/generated_answer.h). The last is Dense2MoE's total: its letter, or
// else the text of the right option anywhere in what was generated.
inline constexpr int kEvalGeneratedLetter = kJudgeCount;
inline constexpr int kEvalGeneratedDense2Moe = kJudgeCount + 1;
inline constexpr int kEvalGeneratedDense2MoeText = kJudgeCount + 2;
inline constexpr int kEvalJudgeCount = kJudgeCount + 3;
// What --judge calls them: letter, sum, token, char, byte, pmi, generated-letter, generated-dense2moe, generated-dense2moe-text.
extern const std::array<JudgeName, kEvalJudgeCount> kEvalJudgeNames;
using EvalJudges = std::array<bool, kEvalJudgeCount>;
// Right or wrong by each judge; nothing where it did not run or is not defined.
using EvalVerdict = std::array<std::optional<bool>, kEvalJudgeCount>;

// Names of judges, or the groups text, generated and all. INVALID_ARGUMENT for others.
StatusOr<EvalJudges> ParseEvalJudges(const std::vector<std::string>& names);
StatusOr<int> ParseEvalJudge(std::string_view name);

// "A,B,C"; empty parts are an INVALID_ARGUMENT.
StatusOr<std::vector<std::string>> ParseList(std::string_view option, std::string_view text);
// LABEL=ROUTING[@HOST:PORT[,HOST:PORT...]]
StatusOr<EvalRow> ParseEvalRow(std::string_view text);
// base, oracle, each expert but the zero expert, learned (where there is a router).
std::vector<EvalRow> StandardRows(const v1::Generations& generations);
// NOT_FOUND when the row names an expert that `generations` do not have: every question would fail alike.
Status CheckExperts(const EvalRow& row, const v1::Generations& generations);
v1::Routing RoutingFor(const EvalRow& row, const std::string& set, const v1::Generations& generations);

}  // namespace switchyard::client
