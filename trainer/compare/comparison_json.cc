#include "trainer/compare/comparison_json.h"

#include <cctype>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "engine/stats/ablation.h"
#include "trainer/compare/plots.h"
#include "trainer/compare/summary.h"
#include "trainer/compare/tables.h"

namespace switchyard::trainer {
namespace {

using Json = nlohmann::ordered_json;

Json OrNull(const std::optional<double>& value) { return value ? Json(*value) : Json(); }

Json ToJson(const Figures& figures) {
  if (!figures) return Json();
  Json json = {{"mean", figures->mean}};
  json["half_width"] = OrNull(figures->half_width);
  return json;
}

Json ToJson(const FigureRow& row) {
  Json json = Json::object();
  for (int f = 0; f < kFigureCount; ++f) json[std::string(kFigureNames[f].id)] = OrNull(row[f]);
  return json;
}

Json Matrix(const std::vector<std::optional<double>>& cells, size_t columns) {
  Json rows = Json::array();
  for (size_t begin = 0; begin < cells.size(); begin += columns) {
    Json row = Json::array();
    for (size_t i = begin; i < begin + columns; ++i) row.push_back(OrNull(cells[i]));
    rows.push_back(std::move(row));
  }
  return rows;
}

Json ToJson(const RoutingFigures& figures, size_t tasks) {
  Json json = {{"mean", ToJson(figures.mean)}, {"max", ToJson(figures.max)}};
  json["early_late"] = OrNull(figures.early_late);
  json["layers"] = Json::array();
  for (const FigureRow& row : figures.layers) json["layers"].push_back(ToJson(row));
  json["load"] = figures.load;
  if (tasks > 0 && !figures.by_task.empty()) {
    json["expert_by_task"] = Matrix(figures.by_task, tasks);
    json["lift"] = Matrix(figures.lift, tasks);
  }
  return json;
}

Json ToJson(const Timing& timing) { return {{"p50", timing.p50}, {"p99", timing.p99}}; }

Json CostJson(const ArtifactResult& artifact, const Comparison& comparison) {
  return {{"flops_per_token",
           {{"total", artifact.flops.total()},
            {"base", artifact.flops.base},
            {"experts", artifact.flops.experts},
            {"router", artifact.flops.router}}},
          {"decode_step_seconds", ToJson(artifact.timings.decode_seconds)},
          {"prefill_seconds", ToJson(artifact.timings.prefill_seconds)},
          {"decode_tokens_per_second", artifact.timings.decode_tokens_per_second},
          {"prefill_tokens_per_second", artifact.timings.prefill_tokens_per_second},
          {"routing_seconds_per_decode_step", artifact.timings.routing_seconds},
          {"routing_share_of_decode", artifact.timings.routing_share},
          {"routing_share_of_prefill", artifact.timings.prefill_routing_share},
          {"resident_bytes", {{"base", comparison.base_bytes}, {"experts", artifact.expert_bytes}, {"router", artifact.router_bytes}}}};
}

Json AccuracyJson(const ArtifactResult& artifact, const Comparison& comparison) {
  Json json = Json::object();
  for (int judge = 0; judge < kJudgeCount; ++judge) {
    if (!comparison.judged[judge]) continue;
    Json sets = Json::object();
    for (size_t s = 0; s < comparison.sets.size(); ++s) {
      const Proportion& cell = artifact.accuracy[judge][s];
      sets[comparison.sets[s].name] = {{"right", cell.successes}, {"of", cell.trials}};
    }
    json[std::string(kJudgeNames[judge])] = std::move(sets);
  }
  return json;
}

Json MethodJson(const MethodResult& method, const Comparison& comparison) {
  Json json = {{"name", method.name}, {"kind", method.kind}, {"top_k", method.top_k}, {"experts", method.experts}};
  json["zero_expert"] = method.zero_expert < 0 ? Json() : Json(method.zero_expert);
  Json accuracy = Json::object();
  for (size_t s = 0; s <= comparison.sets.size(); ++s) {
    accuracy[s < comparison.sets.size() ? comparison.sets[s].name : "average"] = ToJson(AccuracyOf(method, comparison.judge, s));
  }
  json["accuracy"] = std::move(accuracy);
  if (method.checkpoints) {
    json["checkpoint_consistency"] = {{"same_set", OrNull(method.checkpoints->same_set)},
                                      {"same_best", OrNull(method.checkpoints->same_best)},
                                      {"mean_jaccard", OrNull(method.checkpoints->mean_jaccard)}};
  }
  json["artifacts"] = Json::array();
  for (const ArtifactResult& artifact : method.artifacts) {
    Json one = {{"directory", artifact.directory}, {"snapshot", artifact.snapshot}, {"answers", AccuracyJson(artifact, comparison)}};
    if (artifact.routing) {
      one["routing"] = {{"tokens", artifact.routing->tokens},
                        {"with_zero", ToJson(artifact.routing->with_zero, comparison.sets.size())},
                        {"domains_only", ToJson(artifact.routing->domains_only, comparison.sets.size())}};
    }
    one["cost"] = CostJson(artifact, comparison);
    json["artifacts"].push_back(std::move(one));
  }
  return json;
}

Json AblationJson(const Comparison& comparison) {
  const auto named = [&](const std::string& name) -> const MethodResult& {
    for (const MethodResult& method : comparison.methods) {
      if (method.name == name) return method;
    }
    return comparison.methods.front();  // names were checked before anything ran
  };
  Json list = Json::array();
  for (const NamedList& ablation : comparison.ablations) {
    for (const std::string& name : ablation.items) {
      Json figures = Json::object();
      for (int f = 0; f < kFigureCount; ++f) {
        const Figures full = RoutingOf(named(ablation.name), static_cast<Figure>(f), true),
                      part = RoutingOf(named(name), static_cast<Figure>(f), true);
        const AblationImpact impact =
            ComputeAblation(full ? std::optional(full->mean) : std::nullopt, part ? std::optional(part->mean) : std::nullopt);
        figures[std::string(kFigureNames[f].id)] = {{"absolute", OrNull(impact.absolute)}, {"relative", OrNull(impact.relative)}};
      }
      list.push_back({{"full", ablation.name}, {"ablated", name}, {"impact", std::move(figures)}});
    }
  }
  return list;
}

std::string FileName(const std::string& name) {
  std::string safe = name;
  for (char& c : safe) {
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '.') c = '_';
  }
  return safe;
}

Status Write(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
  out.close();
  return out ? OkStatus() : DataLoss("%s: could not be written", path);
}

}  // namespace

std::string ComparisonJson(const Comparison& comparison) {
  Json json = {{"format_version", 1},
               {"base", comparison.base},
               {"base_generation", comparison.base_generation},
               {"dtype", comparison.dtype},
               {"isa", comparison.isa},
               {"threads", comparison.threads},
               {"seed", comparison.seed},
               {"judge", kJudgeNames[comparison.judge]},
               {"routing_tokens", comparison.tokens},
               {"probability_tokens", std::min(comparison.tokens, comparison.probability_tokens)},
               {"max_vio_batch_tokens", comparison.report.batch_rows},
               {"kv_bytes_per_token", comparison.kv_bytes_per_token},
               {"timing",
                {{"prefill_tokens", comparison.timing.prefill_tokens},
                 {"decode_steps", comparison.timing.decode_steps},
                 {"rounds", comparison.timing.rounds}}}};
  json["sets"] = Json::array();
  for (const SetSummary& set : comparison.sets) {
    Json left_out = Json::array();
    for (const BadRecord& bad : set.left_out) left_out.push_back({{"file", bad.file}, {"line", bad.line}, {"reason", bad.reason}});
    json["sets"].push_back({{"name", set.name}, {"questions", set.questions}, {"left_out", std::move(left_out)}});
  }
  json["methods"] = Json::array();
  for (const MethodResult& method : comparison.methods) json["methods"].push_back(MethodJson(method, comparison));
  json["ablations"] = AblationJson(comparison);
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

StatusOr<std::vector<std::string>> WriteComparison(const Comparison& comparison, const std::string& directory) {
  std::vector<std::pair<std::string, std::string>> files = {{"comparison.md", ComparisonMarkdown(comparison)},
                                                            {"comparison.json", ComparisonJson(comparison)},
                                                            {"accuracy.svg", AccuracyPlot(comparison)}};
  std::set<std::string> taken;
  for (const MethodResult& method : comparison.methods) {
    std::string name = FileName(method.name);
    while (!taken.insert(name).second) name += "_";
    if (!method.artifacts.front().routing) continue;
    files.emplace_back("tasks-" + name + ".svg", TaskPlot(comparison, method));
    files.emplace_back("load-" + name + ".svg", LoadPlot(method));
  }
  std::vector<std::string> paths;
  for (const auto& [name, text] : files) {
    paths.push_back(directory + "/" + name);
    RETURN_IF_ERROR(Write(paths.back(), text));
  }
  return paths;
}

}  // namespace switchyard::trainer
