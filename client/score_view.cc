#include "client/score_view.h"

#include <functional>
#include <optional>

#include "absl/strings/str_format.h"
#include "client/screen_text.h"
#include "client/table.h"

namespace switchyard::client {
namespace {

constexpr size_t kLabelColumns = 48;

struct Rule {
  const char* heading;
  std::function<std::optional<double>(const v1::ContinuationScore&)> figure;
  std::function<std::optional<int>(const v1::ScoreWinners&)> winner;
};

std::vector<Rule> Rules() {
  using Score = v1::ContinuationScore;
  using Winners = v1::ScoreWinners;
  using Figure = std::optional<double>;
  using Winner = std::optional<int>;
  return {
      {"sum", [](const Score& s) -> Figure { return s.logprob(); }, [](const Winners& w) -> Winner { return w.sum(); }},
      {"per token", [](const Score& s) { return s.has_per_token() ? Figure(s.per_token()) : Figure(); },
       [](const Winners& w) { return w.has_per_token() ? Winner(w.per_token()) : Winner(); }},
      {"per char", [](const Score& s) { return s.has_per_character() ? Figure(s.per_character()) : Figure(); },
       [](const Winners& w) { return w.has_per_character() ? Winner(w.per_character()) : Winner(); }},
      {"per byte", [](const Score& s) { return s.has_per_byte() ? Figure(s.per_byte()) : Figure(); },
       [](const Winners& w) { return w.has_per_byte() ? Winner(w.per_byte()) : Winner(); }},
      {"PMI", [](const Score& s) { return s.has_pmi() ? Figure(s.pmi()) : Figure(); },
       [](const Winners& w) { return w.has_pmi() ? Winner(w.pmi()) : Winner(); }},
  };
}

}  // namespace

std::string ScoreTable(const std::vector<std::string>& labels, const v1::ScoreResponse& response, const Style& style, size_t indent) {
  std::vector<Rule> rules;
  for (Rule& rule : Rules()) {
    bool any = false;
    for (const auto& score : response.scores()) any = any || rule.figure(score).has_value();
    if (any) rules.push_back(std::move(rule));
  }
  std::vector<Table::Column> columns = {{"choice", Align::kLeft}, {"tokens"}};
  for (const Rule& rule : rules) columns.push_back({std::string(rule.heading) + "  "});
  columns.push_back({"greedy", Align::kLeft});
  Table table(std::move(columns));
  for (int i = 0; i < response.scores_size(); ++i) {
    const v1::ContinuationScore& score = response.scores(i);
    std::vector<Table::Cell> row = {OneLine(labels[i], kLabelColumns), std::to_string(score.tokens())};
    for (const Rule& rule : rules) {
      const auto figure = rule.figure(score);
      const bool wins = figure.has_value() && rule.winner(response.winners()) == i;
      row.push_back({(figure.has_value() ? absl::StrFormat("%.3f", *figure) : std::string("-")) + (wins ? " *" : "  "), wins});
    }
    row.push_back(score.is_greedy() ? "yes" : "");
    table.AddRow(std::move(row));
  }
  return table.Render(style, indent);
}

}  // namespace switchyard::client
