#include "client/eval_report.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_format.h"
#include "client/generate_view.h"
#include "client/screen_text.h"
#include "client/table.h"
#include "engine/stats/interval.h"
#include "nlohmann/json.hpp"

namespace switchyard::client {
namespace {

using Json = nlohmann::ordered_json;
using Lines = std::vector<std::vector<std::string>>;

std::vector<EvalCell> Cells(const EvalReport& report, size_t row, int judge) {
  std::vector<EvalCell> cells;
  for (size_t set = 0; set < report.sets.size(); ++set) cells.push_back(Cell(report.answers, row, set, judge));
  return cells;
}

std::string Percent(double value, double half_width) { return absl::StrFormat("%.1f ±%.1f", 100 * value, 100 * half_width); }

std::string CellText(const EvalCell& cell) {
  const std::optional<double> half_width = HalfWidth(cell);
  return half_width.has_value() ? Percent(cell.accuracy(), *half_width) : "-";
}

std::string MeanText(const std::vector<EvalCell>& cells) {
  const std::optional<EvalMean> mean = Mean(cells);
  return mean.has_value() ? Percent(mean->accuracy, mean->half_width) : "-";
}

// Heading line first.
Lines TableLines(const EvalReport& report, int judge) {
  Lines lines = {{"model"}};
  for (const EvalSet& set : report.sets) lines[0].push_back(OneLine(set.name, 40));
  lines[0].push_back("average");
  for (size_t row = 0; row < report.rows.size(); ++row) {
    const std::vector<EvalCell> cells = Cells(report, row, judge);
    std::vector<std::string> line = {OneLine(report.rows[row].label, 60)};
    for (const EvalCell& cell : cells) line.push_back(CellText(cell));
    line.push_back(MeanText(cells));
    lines.push_back(std::move(line));
  }
  return lines;
}

// Heading line first; a column a judge.
Lines AverageLines(const EvalReport& report, const std::vector<int>& judges) {
  Lines lines = {{"model"}};
  for (const int judge : judges) lines[0].push_back(std::string(kEvalJudgeNames[judge].label));
  for (size_t row = 0; row < report.rows.size(); ++row) {
    lines.push_back({OneLine(report.rows[row].label, 60)});
    for (const int judge : judges) lines.back().push_back(MeanText(Cells(report, row, judge)));
  }
  return lines;
}

std::string ScreenTable(const Lines& lines, const Style& style) {
  std::vector<Table::Column> columns;
  for (const std::string& heading : lines[0]) columns.push_back({heading, columns.empty() ? Align::kLeft : Align::kRight});
  Table table(std::move(columns));
  for (size_t i = 1; i < lines.size(); ++i) table.AddRow({lines[i].begin(), lines[i].end()});
  return table.Render(style);
}

std::string Title(const EvalReport& report, int judge) {
  return absl::StrFormat("%s: accuracy in %% with 95 %% intervals", kEvalJudgeNames[judge].label) +
         (report.outcome.stopped.ok() ? "" : " (not finished)");
}

std::string PairedLine(const EvalReport& report, const std::string& where, std::optional<size_t> set, int judge) {
  const auto [first, second] = *report.compare;
  const EvalPaired paired = Compare(report.answers, first, second, set, judge);
  return absl::StrFormat("%s - %s, %s: %+.1f ±%.1f points (%d questions, right alone %d : %d, McNemar p = %.3g)",
                         OneLine(report.rows[first].label, 60), OneLine(report.rows[second].label, 60), OneLine(where, 40),
                         100 * paired.difference, 100 * paired.half_width, paired.n, paired.only_first, paired.only_second, paired.p);
}

std::vector<std::string> PairedLines(const EvalReport& report, int judge) {
  std::vector<std::string> lines;
  if (!report.compare.has_value()) return lines;
  for (size_t set = 0; set < report.sets.size(); ++set) lines.push_back(PairedLine(report, report.sets[set].name, set, judge));
  lines.push_back(PairedLine(report, "all questions", std::nullopt, judge));
  return lines;
}

// The generations that answered a row.
std::set<std::string> Snapshots(const EvalReport& report, size_t row) {
  std::set<std::string> snapshots;
  for (auto it = report.answers.lower_bound({row, 0, 0}); it != report.answers.end() && std::get<0>(it->first) == row; ++it) {
    snapshots.insert(it->second.snapshot);
  }
  return snapshots;
}

// A line a model that answered.
std::vector<std::string> ModelLines(const EvalReport& report) {
  std::vector<std::string> lines;
  std::set<std::string> seen;
  for (const EvalTarget& target : report.targets) {
    const v1::Generations& generations = target.model.generations();
    if (!seen.insert(generations.snapshot()).second) continue;
    std::string line = absl::StrFormat("%s, generation %s", OneLine(generations.base_name(), 60), ShortGeneration(generations.snapshot()));
    if (!generations.router().empty()) {
      line += absl::StrFormat(", router %s (%s, top-%d)", ShortGeneration(generations.router()), OneLine(target.model.router_kind(), 24),
                              target.model.top_k());
    }
    lines.push_back(line);
  }
  return lines;
}

Json CellJson(const EvalCell& cell) {
  Json json = {{"n", cell.n}, {"correct", cell.correct}};
  if (const auto interval = WilsonInterval95(cell.correct, cell.n); interval.has_value()) {
    json["accuracy"] = cell.accuracy();
    json["low"] = interval->low;
    json["high"] = interval->high;
  }
  return json;
}

Json RowJson(const EvalReport& report, size_t row, int judge) {
  const std::vector<EvalCell> cells = Cells(report, row, judge);
  Json json = {{"row", report.rows[row].label}, {"sets", Json::object()}};
  for (size_t set = 0; set < cells.size(); ++set) json["sets"][report.sets[set].name] = CellJson(cells[set]);
  if (const auto mean = Mean(cells); mean.has_value()) json["average"] = {{"accuracy", mean->accuracy}, {"half_width", mean->half_width}};
  return json;
}

Json PairedJson(const EvalReport& report, std::optional<size_t> set, int judge) {
  const auto [first, second] = *report.compare;
  const EvalPaired paired = Compare(report.answers, first, second, set, judge);
  Json json = {{"first", report.rows[first].label},
               {"second", report.rows[second].label},
               {"n", paired.n},
               {"only_first", paired.only_first},
               {"only_second", paired.only_second},
               {"difference", paired.difference},
               {"half_width", paired.half_width},
               {"p", paired.p}};
  if (set.has_value()) json["set"] = report.sets[*set].name;
  return json;
}

Json JudgeJson(const EvalReport& report, int judge) {
  Json json = {{"judge", std::string(kEvalJudgeNames[judge].id)}, {"rows", Json::array()}};
  for (size_t row = 0; row < report.rows.size(); ++row) json["rows"].push_back(RowJson(report, row, judge));
  if (!report.compare.has_value()) return json;
  json["compare"] = Json::array();
  for (size_t set = 0; set < report.sets.size(); ++set) json["compare"].push_back(PairedJson(report, set, judge));
  json["compare"].push_back(PairedJson(report, std::nullopt, judge));
  return json;
}

}  // namespace

std::string EvalScreen(const EvalReport& report, const Style& style) {
  std::string text;
  const size_t whole = report.brief ? std::min<size_t>(1, report.judges.size()) : report.judges.size();
  for (size_t i = 0; i < whole; ++i) {
    const int judge = report.judges[i];
    text += (text.empty() ? "" : "\n") + style.Bold(Title(report, judge)) + "\n" + ScreenTable(TableLines(report, judge), style);
    for (const std::string& line : PairedLines(report, judge)) text += "  " + line + "\n";
  }
  if (whole < report.judges.size()) {
    const std::vector<int> others(report.judges.begin() + static_cast<std::ptrdiff_t>(whole), report.judges.end());
    text += "\n" + style.Bold("The average by the other judges") + "\n" + ScreenTable(AverageLines(report, others), style);
  }
  for (const std::string& line : ModelLines(report)) text += style.Dim("answered by " + line) + "\n";
  return text;
}

std::string EvalMarkdown(const EvalReport& report) {
  std::string text;
  for (const int judge : report.judges) {
    const Lines lines = TableLines(report, judge);
    text += "**" + Title(report, judge) + "**\n\n";
    for (size_t i = 0; i < lines.size(); ++i) {
      text += "|";
      for (std::string cell : lines[i]) {
        for (size_t bar = 0; (bar = cell.find('|', bar)) != std::string::npos; bar += 2) cell.insert(bar, "\\");
        text += " " + cell + " |";
      }
      text += "\n";
      if (i > 0) continue;
      text += "| --- |";
      for (size_t c = 1; c < lines[0].size(); ++c) text += " ---: |";
      text += "\n";
    }
    text += "\n";
    for (const std::string& line : PairedLines(report, judge)) text += "- " + line + "\n";
    if (report.compare.has_value()) text += "\n";
  }
  for (const std::string& line : ModelLines(report)) text += "Answered by " + line + ".\n";
  return text;
}

std::string EvalJson(const EvalReport& report) {
  Json json = {{"rows", Json::array()}, {"sets", Json::array()}, {"judges", Json::array()}};
  for (size_t row = 0; row < report.rows.size(); ++row) {
    Json servers = Json::array();
    for (const auto& connection : report.targets[row].pool->connections()) servers.push_back(connection->options().server);
    json["rows"].push_back({{"label", report.rows[row].label},
                            {"routing", report.rows[row].routing},
                            {"servers", std::move(servers)},
                            {"generations", Snapshots(report, row)}});
  }
  for (const EvalSet& set : report.sets) {
    json["sets"].push_back({{"name", set.name}, {"questions", set.data.questions.size()}, {"skipped", set.data.bad.size()}});
  }
  for (const int judge : report.judges) json["judges"].push_back(JudgeJson(report, judge));
  json["failed"] = report.outcome.failures;
  json["asked"] = report.outcome.asked;
  json["seconds"] = report.outcome.seconds;
  json["complete"] = report.outcome.stopped.ok() && report.outcome.failures.empty();
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace switchyard::client
