#include "client/eval_plan.h"

#include <algorithm>

#include "client/routing_option.h"

namespace switchyard::client {

const std::array<JudgeName, kEvalJudgeCount> kEvalJudgeNames = {
    {{"letter", "letter"},
     {"sum", "text, sum"},
     {"token", "text, per token"},
     {"char", "text, per character"},
     {"byte", "text, per byte"},
     {"pmi", "text, PMI"},
     {"generated-letter", "generated, letter"},
     {"generated-dense2moe", "generated, Dense2MoE's rule"},
     {"generated-dense2moe-text", "generated, Dense2MoE's rule or the option's text"}}};

StatusOr<int> ParseEvalJudge(std::string_view name) {
  for (int judge = 0; judge < kEvalJudgeCount; ++judge) {
    if (kEvalJudgeNames[judge].id == name) return judge;
  }
  std::string known;
  for (const JudgeName& judge : kEvalJudgeNames) known += (known.empty() ? "" : ", ") + std::string(judge.id);
  return InvalidArgument("expected a judge (%s), found \"%s\"", known, name);
}

StatusOr<EvalJudges> ParseEvalJudges(const std::vector<std::string>& names) {
  EvalJudges judges{};
  for (const std::string& name : names) {
    const bool all = name == "all";
    if (all || name == "text") std::fill(judges.begin() + kJudgeSum, judges.begin() + kJudgeCount, true);
    if (all || name == "generated") std::fill(judges.begin() + kJudgeCount, judges.end(), true);
    if (all) judges[kJudgeLetter] = true;
    if (all || name == "text" || name == "generated") continue;
    ASSIGN_OR_RETURN(const int judge, ParseEvalJudge(name));
    judges[judge] = true;
  }
  return judges;
}

StatusOr<std::vector<std::string>> ParseList(std::string_view option, std::string_view text) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    if (end == begin) return InvalidArgument("%s: an empty part in \"%s\"", option, text);
    parts.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

StatusOr<EvalRow> ParseEvalRow(std::string_view text) {
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0) return InvalidArgument("--row: expected LABEL=ROUTING, found \"%s\"", text);
  EvalRow row;
  row.label = std::string(text.substr(0, equals));
  std::string_view rest = text.substr(equals + 1);
  if (const size_t at = rest.rfind('@'); at != std::string_view::npos) {
    ASSIGN_OR_RETURN(row.servers, ParseList("--row", rest.substr(at + 1)));
    rest = rest.substr(0, at);
  }
  row.routing = std::string(rest);
  row.oracle = rest == "oracle";
  if (!row.oracle) {
    ASSIGN_OR_RETURN(row.parsed, ParseRouting(rest));
  }
  return row;
}

std::vector<EvalRow> StandardRows(const v1::Generations& generations) {
  std::vector<EvalRow> rows(2);
  rows[0].label = rows[0].routing = "base";
  rows[0].parsed.mutable_base_only();
  rows[1].label = rows[1].routing = "oracle";
  rows[1].oracle = true;
  for (const v1::ExpertGeneration& expert : generations.experts()) {
    if (expert.is_zero()) continue;
    EvalRow& row = rows.emplace_back();
    row.label = expert.name();
    row.routing = "expert=" + expert.name();
    row.parsed.set_forced_expert(expert.name());
  }
  if (!generations.router().empty()) {
    EvalRow& row = rows.emplace_back();
    row.label = row.routing = "learned";
    row.parsed.mutable_learned();
  }
  return rows;
}

Status CheckExperts(const EvalRow& row, const v1::Generations& generations) {
  std::vector<std::string> wanted;
  if (row.parsed.has_forced_expert()) wanted.push_back(row.parsed.forced_expert());
  for (const auto& [name, weight] : row.parsed.mixture().weights()) wanted.push_back(name);
  for (const std::string& name : row.parsed.learned().masked_experts()) wanted.push_back(name);
  std::string known;
  for (const v1::ExpertGeneration& expert : generations.experts()) known += (known.empty() ? "" : ", ") + expert.name();
  for (const std::string& name : wanted) {
    const auto& experts = generations.experts();
    if (std::any_of(experts.begin(), experts.end(), [&](const auto& expert) { return expert.name() == name; })) continue;
    return NotFound("row %s: there is no expert %s; the server has %s", row.label, name, known.empty() ? "none" : known);
  }
  return OkStatus();
}

v1::Routing RoutingFor(const EvalRow& row, const std::string& set, const v1::Generations& generations) {
  if (!row.oracle) return row.parsed;
  v1::Routing routing;
  routing.mutable_base_only();
  for (const v1::ExpertGeneration& expert : generations.experts()) {
    if (expert.name() == set) routing.set_forced_expert(set);
  }
  return routing;
}

}  // namespace switchyard::client
