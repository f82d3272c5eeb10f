// switchyard-trainer evaluate: loss and perplexity of a base, an expert or a router on held-out data, a domain a line, computed by the
// training code itself; with --routes the route of every token, to hold against a server's; with --figures every routing figure.
#include <cmath>
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "engine/stats/routing_report.h"
#include "trainer/commands/common.h"
#include "trainer/commands/experts.h"
#include "trainer/data/batch_sampler.h"
#include "trainer/run/observed_routes.h"

namespace switchyard::trainer {

namespace {

struct Flags {
  CommonFlags common;
  ExpertFlags experts;
  std::string router, forced, routes;
  bool figures = false, exact = false;
  double capacity_factor = DispatchOptions().capacity_factor;
};

// {"tokens": [...], "layers": [[[experts of token 0], ...], ...], "margin": [[...], ...], "log_probs": [...]}
nlohmann::json RouteLine(const PackedBatch& batch, const EvaluationDetail& detail) {
  nlohmann::json layers = nlohmann::json::array(), margins = nlohmann::json::array();
  for (const LayerRoutes& routes : detail.routes) {
    nlohmann::json rows = nlohmann::json::array(), margin = nlohmann::json::array();
    for (int64_t row = 0; row < routes.rows; ++row) {
      rows.push_back(std::vector<int16_t>(routes.experts.begin() + row * routes.k, routes.experts.begin() + (row + 1) * routes.k));
      margin.push_back(std::isfinite(routes.margin[row]) ? nlohmann::json(routes.margin[row]) : nlohmann::json());
    }
    layers.push_back(std::move(rows));
    margins.push_back(std::move(margin));
  }
  return {{"tokens", batch.tokens}, {"layers", layers}, {"margin", margins}, {"log_probs", detail.log_probs}};
}

Status WriteRoutes(const std::string& path, const RunTask& task, const Dataset& data) {
  std::ofstream out(path);
  if (!out) return InvalidArgument("--routes %s cannot be written", path);
  for (size_t i = 0; i < data.examples.size(); ++i) {
    const PackedBatch batch = Pack(data, {static_cast<int64_t>(i)});
    RoutePlan plan;
    plan.router = task.router;
    EvaluationDetail detail;
    RETURN_IF_ERROR(task.model->Evaluate(batch, plan, &detail).status());
    out << RouteLine(batch, detail) << '\n';
  }
  out.close();
  return out ? OkStatus() : DataLoss("--routes %s could not be written", path);
}

Status PrintFigures(const RunTask& task, const Dataset& data) {
  ASSIGN_OR_RETURN(const RouteRecord record, RecordRoutes(*task.model, *task.router, *task.experts, data));
  const RoutingReport report = MakeRoutingReport(record);
  const auto cell = [](const std::optional<double>& value) {
    return value ? absl::StrFormat("%10.4f", *value) : std::string(9, ' ') + "-";
  };
  std::printf("%-32s %10s %10s   (%lld tokens, means over layers)\n", "routing figure", "all", "no zero",
              static_cast<long long>(report.tokens));
  for (int f = 0; f < kFigureCount; ++f) {
    std::printf("%-32s %s %s\n", std::string(kFigureNames[f].id).c_str(), cell(report.with_zero.mean[f]).c_str(),
                cell(report.domains_only.mean[f]).c_str());
  }
  return OkStatus();
}

Dataset DomainOf(const Dataset& data, int32_t domain) {
  Dataset part;
  part.domains = data.domains;
  for (const Example& example : data.examples) {
    if (example.domain == domain) part.examples.push_back(example);
  }
  return part;
}

Status RunEvaluate(Flags& flags, Communicator& world) {
  flags.common.validation_share = 0;
  flags.common.quiet = true;
  flags.common.tensorboard = false;
  ASSIGN_OR_RETURN(const auto bench, Workbench::Open(flags.common, "evaluate", world));
  ASSIGN_OR_RETURN(std::vector<LoraExpert> experts, OpenExperts(flags.experts, bench->compute(), bench->base().config, false, 1));
  std::unique_ptr<RouterModule> router;
  RunTask task;
  task.forced = RoutePlan::kBase;
  if (!flags.router.empty()) {
    RouterOptions options;
    options.exact = flags.exact;
    options.dispatch.capacity_factor = flags.capacity_factor;
    ASSIGN_OR_RETURN(router, OpenPublishedRouter(flags.router, bench->base(), experts, options));
    task.router = router.get();
  } else if (!flags.forced.empty()) {
    for (size_t e = 0; e < experts.size(); ++e) {
      if (experts[e].name == flags.forced) task.forced = static_cast<int32_t>(e);
    }
    if (task.forced == RoutePlan::kBase) return NotFound("--forced %s: no such expert", flags.forced);
  }
  if ((!flags.routes.empty() || flags.figures) && task.router == nullptr) return InvalidArgument("--routes and --figures need --router");
  const auto model = MakeFastModel(bench->compute(), bench->base(), experts, {});
  task.model = model.get();
  task.experts = &experts;
  const bool speaks = world.rank() == 0;
  if (speaks) std::printf("%-20s %8s %8s %10s %10s %10s\n", "domain", "examples", "tokens", "loss", "perplexity", "token acc");
  PassResult all;
  for (size_t d = 0; d < bench->train().domains.size(); ++d) {
    const Dataset part = DomainOf(bench->train(), static_cast<int32_t>(d));
    if (part.examples.empty()) continue;
    ASSIGN_OR_RETURN(const PassResult result, EvaluateAll(task, part, flags.common.tokens_per_pass, world));
    Add(result, &all);
    if (!speaks) continue;
    const double n = static_cast<double>(result.targets), loss = result.loss / n;
    std::printf("%-20s %8zu %8lld %10.4f %10.4f %10.3f\n", bench->train().domains[d].c_str(), part.examples.size(),
                static_cast<long long>(result.targets), loss, std::exp(loss), static_cast<double>(result.correct) / n);
  }
  if (!speaks) return OkStatus();
  for (const auto& [name, value] : RoutingScalars(all, experts)) std::printf("  %-28s %.3f\n", name.c_str(), value);
  if (flags.figures) RETURN_IF_ERROR(PrintFigures(task, bench->train()));
  return flags.routes.empty() ? OkStatus() : WriteRoutes(flags.routes, task, bench->train());
}

}  // namespace

void AddEvaluateCommand(CLI::App& app, Communicator& world, Status* result) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("evaluate", "Held-out loss of a base, an expert or a router, domain by domain");
  CommonFlags& common = flags->common;
  command->add_option("--base", common.base, "Hugging Face directory of the base model")->required();
  command->add_option("--data", common.data, "[DOMAIN=]PATH")->required();
  command->add_option("--format", common.format)->capture_default_str();
  command->add_option("--target", common.target, "text, letter, both or dense2moe")->capture_default_str();
  command->add_option("--template", common.template_file);
  command->add_flag("--append-eos", common.append_eos);
  command->add_option("--max-tokens", common.max_tokens)->capture_default_str();
  command->add_option("--max-records", common.max_records)->capture_default_str();
  command->add_option("--tokens-per-pass", common.tokens_per_pass)->capture_default_str();
  command->add_option("--dtype", common.dtype)->capture_default_str();
  command->add_option("--threads", common.threads)->capture_default_str();
  command->add_option("--router", flags->router, "router artifact; without it the base, or --forced");
  command->add_option("--forced", flags->forced, "name of the expert that answers everything");
  command->add_option("--routes", flags->routes, "write the route of every token here, a JSON line an example");
  command->add_flag("--figures", flags->figures,
                    "every routing figure of docs/comparing.md but Gram's, over all tokens of the data (one more pass)");
  command->add_flag(
      "--exact", flags->exact,
      "expert_choice: experts choose among all tokens of a pass (with --routes and --figures: of an example), as no server can");
  command->add_option("--capacity-factor", flags->capacity_factor, "--exact: rows an expert takes, of its equal share")
      ->capture_default_str();
  flags->experts.AddTo(*command, /*may_be_fresh=*/false);
  command->callback([flags, &world, result] { *result = RunEvaluate(*flags, world); });
}

}  // namespace switchyard::trainer
