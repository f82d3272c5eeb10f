#include "trainer/compare/tables.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "engine/stats/ablation.h"
#include "trainer/compare/summary.h"

namespace switchyard::trainer {
namespace {

using Row = std::vector<std::string>;

// A name may hold what ends a cell.
std::string Escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c == '\n' || c == '\r' ? ' ' : c;
  }
  return out;
}

// The first `texts` columns are left-aligned.
std::string Markdown(const Row& head, const std::vector<Row>& rows, size_t texts = 1) {
  std::string text = "|";
  for (const std::string& cell : head) text += " " + Escaped(cell) + " |";
  text += "\n|";
  for (size_t i = 0; i < head.size(); ++i) text += i < texts ? " --- |" : " ---: |";
  text += "\n";
  for (const Row& row : rows) {
    text += "|";
    for (const std::string& cell : row) text += " " + Escaped(cell) + " |";
    text += "\n";
  }
  return text;
}

struct Column {
  std::string label;
  std::function<std::string(const MethodResult&)> cell;
};

std::string TableOf(const std::vector<const MethodResult*>& methods, const std::vector<Column>& columns) {
  Row head = {"method"};
  for (const Column& column : columns) head.push_back(column.label);
  std::vector<Row> rows;
  for (const MethodResult* method : methods) {
    Row row = {method->name};
    for (const Column& column : columns) row.push_back(column.cell(*method));
    rows.push_back(std::move(row));
  }
  return Markdown(head, rows);
}

std::vector<const MethodResult*> Routed(const Comparison& comparison) {
  std::vector<const MethodResult*> methods;
  for (const MethodResult& method : comparison.methods) {
    if (method.artifacts.front().routing) methods.push_back(&method);
  }
  return methods;
}

std::string Arrow(Figure figure) {
  const int better = kFigureNames[figure].better;
  return std::string(kFigureNames[figure].label) + (better > 0 ? " ↑" : better < 0 ? " ↓" : "");
}

std::vector<Column> FigureColumns(const std::vector<Figure>& figures, bool with_zero) {
  std::vector<Column> columns;
  for (const Figure figure : figures) {
    columns.push_back(
        {Arrow(figure), [figure, with_zero](const MethodResult& method) { return Show(RoutingOf(method, figure, with_zero), 3); }});
  }
  return columns;
}

std::string Plain(const std::optional<double>& value) { return value ? absl::StrFormat("%.3f", *value) : "–"; }

const MethodResult& Named(const Comparison& comparison, const std::string& name) {
  return *std::find_if(comparison.methods.begin(), comparison.methods.end(),
                       [&](const MethodResult& method) { return method.name == name; });
}

Figures Consistency(const MethodResult& method) {
  if (!method.checkpoints || !method.checkpoints->same_set) return std::nullopt;
  return MeanWithSpread{.mean = *method.checkpoints->same_set, .half_width = std::nullopt, .count = 1};
}

// "0.410 (+0.020)": the value, and full minus ablated behind it.
std::string WithImpact(const Figures& full, const Figures& ablated, double scale, int decimals) {
  if (!ablated) return "–";
  const auto impact = ComputeAblation(full ? std::optional(full->mean) : std::nullopt, ablated->mean).absolute;
  std::string text = absl::StrFormat("%.*f", decimals, ablated->mean * scale);
  if (impact) text += absl::StrFormat(" (%+.*f)", decimals, *impact * scale);
  return text;
}

double Mebibytes(double bytes) { return bytes / (1 << 20); }

}  // namespace

std::string AccuracyTable(const Comparison& comparison) {
  std::vector<Column> columns;
  for (size_t s = 0; s <= comparison.sets.size(); ++s) {
    columns.push_back({s < comparison.sets.size() ? comparison.sets[s].name : "average",
                       [&comparison, s](const MethodResult& method) { return Show(AccuracyOf(method, comparison.judge, s), 1, 100); }});
  }
  std::vector<const MethodResult*> methods;
  for (const MethodResult& method : comparison.methods) methods.push_back(&method);
  return TableOf(methods, columns);
}

std::string BalanceTable(const Comparison& comparison, bool with_zero) {
  std::vector<Column> columns = FigureColumns({kOverlapPosition, kOverlapChance, kGramOrthogonality, kExpertEntropy,
                                               kExpertEntropyNormalised, kCv, kGini, kMinMax, kMaxVio, kMaxVioBatch, kCollapse},
                                              with_zero);
  columns.push_back({"MaxVio, worst layer ↓", [with_zero](const MethodResult& method) {
                       return Show(Over(method,
                                        [&](const ArtifactResult& a) {
                                          return (with_zero ? a.routing->with_zero : a.routing->domains_only).max[kMaxVio];
                                        }),
                                   3);
                     }});
  columns.push_back(
      {"early / late", [with_zero](const MethodResult& method) {
         return Show(
             Over(method, [&](const ArtifactResult& a) { return (with_zero ? a.routing->with_zero : a.routing->domains_only).early_late; }),
             3);
       }});
  if (with_zero) {
    const auto part = [](const char* label, std::optional<double> Agreement::*member) {
      return Column{
          label, [member](const MethodResult& method) { return Plain(method.checkpoints ? (*method.checkpoints).*member : std::nullopt); }};
    };
    columns.push_back(part("consistency, set ↑", &Agreement::same_set));
    columns.push_back(part("consistency, top-1 ↑", &Agreement::same_best));
    columns.push_back(part("consistency, Jaccard ↑", &Agreement::mean_jaccard));
  }
  return TableOf(Routed(comparison), columns);
}

std::string AblationTable(const Comparison& comparison) {
  std::string text;
  for (const NamedList& ablation : comparison.ablations) {
    const MethodResult& full = Named(comparison, ablation.name);
    const size_t average = comparison.sets.size();
    std::vector<const MethodResult*> methods = {&full};
    for (const std::string& name : ablation.items) methods.push_back(&Named(comparison, name));
    std::vector<Column> columns = {{"accuracy, %", [&](const MethodResult& method) {
                                      return WithImpact(AccuracyOf(full, comparison.judge, average),
                                                        AccuracyOf(method, comparison.judge, average), 100, 1);
                                    }}};
    for (const Figure figure :
         {kOverlapPosition, kOverlapVocabulary, kGramOrthogonality, kCv, kMaxVio, kSequentialConsistency, kSpecialisation}) {
      columns.push_back({Arrow(figure), [&full, figure](const MethodResult& method) {
                           return WithImpact(RoutingOf(full, figure, true), RoutingOf(method, figure, true), 1, 3);
                         }});
    }
    columns.push_back(
        {"consistency, set ↑", [&full](const MethodResult& method) { return WithImpact(Consistency(full), Consistency(method), 1, 3); }});
    text += (text.empty() ? "" : "\n") + TableOf(methods, columns);
  }
  return text;
}

std::string SpecialisationTable(const Comparison& comparison, bool with_zero) {
  return TableOf(Routed(comparison),
                 FigureColumns({kOverlapVocabulary, kGramMeanAbs, kGramOrthogonality, kGramOrthogonalityRms, kDiversity, kRoutingEntropy,
                                kRoutingEntropyNormalised, kSelectedEntropy, kSpecialisation, kMutualInformation,
                                kNormalisedMutualInformation, kSequentialConsistency, kSequentialChance, kTopKOverlap, kBaseMass},
                               with_zero));
}

std::string TaskTable(const Comparison& comparison) {
  Row head = {"method", "expert"};
  for (const SetSummary& set : comparison.sets) head.push_back(set.name);
  std::vector<Row> rows;
  for (const MethodResult* method : Routed(comparison)) {
    const auto shares = TaskSharesOf(*method);
    for (size_t e = 0; e < method->experts.size(); ++e) {
      Row row = {method->name, method->experts[e]};
      for (size_t q = 0; q < comparison.sets.size(); ++q) {
        const auto& share = shares[e * comparison.sets.size() + q];
        row.push_back(share ? absl::StrFormat("%.1f", 100 * *share) : "–");
      }
      rows.push_back(std::move(row));
    }
  }
  return rows.empty() ? "" : Markdown(head, rows, 2);
}

std::string CostTable(const Comparison& comparison) {
  std::vector<const MethodResult*> methods;
  for (const MethodResult& method : comparison.methods) methods.push_back(&method);
  const auto column = [](std::string label, int decimals, std::function<double(const ArtifactResult&)> figure) {
    return Column{std::move(label), [figure = std::move(figure), decimals](const MethodResult& method) {
                    return Show(Over(method, [&](const ArtifactResult& artifact) { return std::optional(figure(artifact)); }), decimals);
                  }};
  };
  return TableOf(
      methods,
      {column("MFLOP / token", 1, [](const auto& a) { return a.flops.total() / 1e6; }),
       column("of experts", 2, [](const auto& a) { return a.flops.experts / 1e6; }),
       column("of the router", 2, [](const auto& a) { return a.flops.router / 1e6; }),
       column("decode step p50, ms", 2, [](const auto& a) { return 1e3 * a.timings.decode_seconds.p50; }),
       column("p99, ms", 2, [](const auto& a) { return 1e3 * a.timings.decode_seconds.p99; }),
       column("decode, tokens/s", 1, [](const auto& a) { return a.timings.decode_tokens_per_second; }),
       column("prefill p50, ms", 1, [](const auto& a) { return 1e3 * a.timings.prefill_seconds.p50; }),
       column("p99, ms", 1, [](const auto& a) { return 1e3 * a.timings.prefill_seconds.p99; }),
       column("prefill, tokens/s", 0, [](const auto& a) { return a.timings.prefill_tokens_per_second; }),
       column("routing, µs / token", 0, [](const auto& a) { return 1e6 * a.timings.routing_seconds; }),
       column("of the step, %", 1, [](const auto& a) { return 100 * a.timings.routing_share; }),
       column("memory, MiB", 1,
              [&](const auto& a) { return Mebibytes(static_cast<double>(comparison.base_bytes + a.expert_bytes + a.router_bytes)); }),
       column("of the router", 1, [](const auto& a) { return Mebibytes(static_cast<double>(a.router_bytes)); })});
}

std::string ComparisonMarkdown(const Comparison& comparison) {
  std::string questions;
  for (const SetSummary& set : comparison.sets) {
    questions += absl::StrFormat("%s%s %d", questions.empty() ? "" : ", ", set.name, set.questions);
    if (!set.left_out.empty()) questions += absl::StrFormat(" (%d left out)", set.left_out.size());
  }
  std::string seeds;
  for (const MethodResult& method : comparison.methods) {
    if (method.artifacts.size() > 1) seeds += absl::StrFormat("%s%s %d", seeds.empty() ? "" : ", ", method.name, method.artifacts.size());
  }
  std::string text = absl::StrFormat(
      "# Comparison on %s\n\nQuestions: %s; drawn by seed %d. Routing figures over %d tokens of prompts with their right answers, Gram "
      "figures over the first %d. "
      "%s, %d threads, %s. Artifacts a method: %s.\n",
      comparison.base, questions, comparison.seed, comparison.tokens, std::min(comparison.tokens, comparison.probability_tokens),
      comparison.dtype, comparison.threads, comparison.isa, seeds.empty() ? "one each" : seeds + ", the others one");
  const auto add = [&](const std::string& title, const std::string& body) {
    if (!body.empty()) text += "\n## " + title + "\n\n" + body;
  };
  add(absl::StrFormat("Accuracy (%%, judge %s, 95 %% intervals)", kJudgeNames[comparison.judge]), AccuracyTable(comparison));
  if (!Routed(comparison).empty()) {
    add("Table 1: balance, all experts", BalanceTable(comparison, true));
    add("Table 1: balance, without the zero expert", BalanceTable(comparison, false));
  }
  add("Table 2: ablations (in brackets: full minus ablated)", AblationTable(comparison));
  if (!Routed(comparison).empty()) {
    add("Table 5: diversity and specialisation, all experts", SpecialisationTable(comparison, true));
    add("Table 5: diversity and specialisation, without the zero expert", SpecialisationTable(comparison, false));
    add("Expert by task (% of a task's selections, mean over layers)", TaskTable(comparison));
  }
  add(absl::StrFormat("Table 6: cost (one sequence, prefill of %d tokens, %d decode steps, %d rounds)", comparison.timing.prefill_tokens,
                      comparison.timing.decode_steps, comparison.timing.rounds),
      CostTable(comparison));
  return text;
}

}  // namespace switchyard::trainer
