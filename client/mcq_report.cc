#include "client/mcq_report.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "absl/strings/str_format.h"
#include "client/generate_view.h"
#include "client/rpc_error.h"
#include "client/score_view.h"
#include "client/screen_text.h"
#include "client/table.h"
#include "engine/stats/interval.h"
#include "nlohmann/json.hpp"

namespace switchyard::client {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kListed = 10;

std::string Place(const BadRecord& bad) { return absl::StrFormat("%s:%d: %s", bad.file, bad.line, bad.reason); }

// The first lines of a list, and how many more there are.
std::string Listed(const std::string& heading, const std::vector<std::string>& lines) {
  if (lines.empty()) return "";
  std::string text = heading + "\n";
  for (size_t i = 0; i < lines.size() && i < kListed; ++i) text += "  " + OneLine(lines[i], 200) + "\n";
  if (lines.size() > kListed) text += absl::StrFormat("  and %d more (--json or --output has them all)\n", lines.size() - kListed);
  return text;
}

// The formats of the questions, each once, in the order they come.
std::string Formats(const McqSet& set) {
  std::vector<McqFormat> seen;
  std::string text;
  for (const McqQuestion& question : set.questions) {
    if (std::find(seen.begin(), seen.end(), question.format) != seen.end()) continue;
    seen.push_back(question.format);
    text += (text.empty() ? "" : ", ") + std::string(McqFormatName(question.format));
  }
  return text;
}

std::string Headline(const McqSet& set, const McqOutcome& outcome) {
  if (set.questions.empty())
    return absl::StrFormat("no question could be used, %d records skipped; --format says how the files are written\n", set.bad.size());
  std::string line = absl::StrFormat("%d questions (%s)", set.questions.size(), Formats(set));
  if (!set.bad.empty()) line += absl::StrFormat(" · %d records skipped", set.bad.size());
  if (!outcome.tally.failures().empty()) line += absl::StrFormat(" · %d failed", outcome.tally.failures().size());
  return line + absl::StrFormat(" · %.1f questions/s · chance %.1f %%\n", outcome.questions_per_second, 100 * outcome.tally.chance());
}

std::string Snapshots(const McqTally& tally) {
  std::string text;
  for (const std::string& snapshot : tally.snapshots()) text += (text.empty() ? "" : ", ") + ShortGeneration(snapshot);
  if (tally.snapshots().size() > 1) text += ": the model was changed while this ran";
  return text;
}

}  // namespace

std::string McqReport(const McqSet& set, const McqOutcome& outcome, const Style& style) {
  Table table({{"judge", Align::kLeft}, {"n"}, {"correct"}, {"accuracy"}, {"95 % interval"}});
  for (int judge = 0; judge < kJudgeCount; ++judge) {
    const JudgeTally& tally = outcome.tally.judges()[judge];
    if (tally.n == 0) continue;
    const Interval interval = WilsonInterval95(tally.correct, tally.n).value_or(Interval{0, 1});
    table.AddRow({std::string(kJudgeNames[judge].label), std::to_string(tally.n), std::to_string(tally.correct),
                  absl::StrFormat("%.1f %%", 100.0 * static_cast<double>(tally.correct) / static_cast<double>(tally.n)),
                  absl::StrFormat("%.1f - %.1f %%", 100 * interval.low, 100 * interval.high)});
  }
  std::string text = style.Bold(Headline(set, outcome)) + table.Render(style);
  if (!outcome.tally.snapshots().empty()) text += style.Dim("answered by generation " + Snapshots(outcome.tally)) + "\n";
  std::vector<std::string> bad;
  for (const BadRecord& record : set.bad) bad.push_back(Place(record));
  return text + Listed("Skipped:", bad) + Listed("Failed:", outcome.tally.failures());
}

std::string McqReportJson(const McqSet& set, const McqOutcome& outcome) {
  Json json = {{"format", Formats(set)},
               {"questions", set.questions.size()},
               {"answered", outcome.tally.answered()},
               {"chance", outcome.tally.chance()},
               {"seconds", outcome.seconds},
               {"questions_per_second", outcome.questions_per_second},
               {"snapshots", outcome.tally.snapshots()}};
  Json judges = Json::array();
  for (int judge = 0; judge < kJudgeCount; ++judge) {
    const JudgeTally& tally = outcome.tally.judges()[judge];
    if (tally.n == 0) continue;
    const Interval interval = WilsonInterval95(tally.correct, tally.n).value_or(Interval{0, 1});
    judges.push_back({{"judge", kJudgeNames[judge].id},
                      {"n", tally.n},
                      {"correct", tally.correct},
                      {"accuracy", static_cast<double>(tally.correct) / static_cast<double>(tally.n)},
                      {"low", interval.low},
                      {"high", interval.high}});
  }
  json["judges"] = std::move(judges);
  Json skipped = Json::array();
  for (const BadRecord& bad : set.bad) skipped.push_back({{"file", bad.file}, {"line", bad.line}, {"reason", bad.reason}});
  json["skipped"] = std::move(skipped);
  json["failed"] = outcome.tally.failures();
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string McqExample(const McqAnswer& answer, const PromptTemplates& templates, const Style& style) {
  const McqQuestion& question = answer.question;
  std::string text = style.Bold(OneLine(question.id)) + style.Dim(absl::StrFormat("  %s:%d", question.file, question.line)) + "\n";
  if (!answer.status.ok()) {
    return text + "  " + CodeName(answer.status.error_code()) + ": " + Printable(answer.status.error_message()) + "\n";
  }
  std::vector<std::string> labels;
  for (size_t i = 0; i < question.options.size(); ++i) {
    const bool right = static_cast<int>(i) == question.answer;
    labels.push_back(absl::StrFormat("%c. %s", static_cast<char>('A' + i), question.options[i]));
    if (right) labels.back() = "✓ " + labels.back();
  }
  const auto part = [&](const char* name, const std::string& prompt, const std::optional<v1::ScoreResponse>& reply) {
    if (!reply.has_value()) return;
    text += style.Dim(absl::StrFormat("-- %s --", name)) + "\n" + Printable(prompt) + "\n" + ScoreTable(labels, *reply, style, 2);
  };
  part("letter", RenderPrompt(templates.letter, question), answer.letter);
  part("text", RenderPrompt(templates.text, question), answer.text);
  return text;
}

}  // namespace switchyard::client
