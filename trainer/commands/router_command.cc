// switchyard-trainer router: a router over a frozen base and experts, or trained together with experts or attention.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>

#include "engine/artifact/atomic_file.h"
#include "trainer/commands/common.h"
#include "trainer/commands/experts.h"
#include "trainer/commands/router_flags.h"
#include "trainer/run/checkpoint.h"
#include "trainer/run/distilled_tables.h"
#include "trainer/run/publish.h"
#include "trainer/run/route_manifold.h"

namespace switchyard::trainer {

namespace {

// What --train names; a substring is enough, as in Dense2MoE.
struct Trained {
  bool router, experts, attention;
};

StatusOr<Trained> ParseTrain(const std::string& text) {
  const auto has = [&](const char* part) { return text.find(part) != std::string::npos; };
  const Trained trained{has("router"), has("mlp"), has("attention")};
  if (!trained.router && !trained.experts && !trained.attention) {
    return InvalidArgument("--train: expected router, mlp, attention or several joined (router_mlp), found %s", text);
  }
  return trained;
}

// Trained experts get directories of their own under `root`/experts, and the generations the router is bound to.
Status PublishExperts(std::vector<LoraExpert>& experts, const BaseWeights& base, const std::string& root) {
  for (LoraExpert& expert : experts) {
    if (expert.Parameters().empty()) continue;
    ASSIGN_OR_RETURN(const LoraOptions options, OptionsOf(expert));
    const std::string directory = root + "/experts/" + expert.name;
    RETURN_IF_ERROR(WriteLoraExpert(expert, options, base.directory, directory));
    ASSIGN_OR_RETURN(const PeftAdapter written,
                     ReadPeftAdapter(directory, base.config, {.allow_attention = false, .allow_zero_delta = true}));
    expert.generation = written.generation;
  }
  return OkStatus();
}

Status Publish(const RouterFlags& flags, const Workbench& bench, TrainableModel& model, std::vector<LoraExpert>& experts,
               RouterModule& router, int64_t steps) {
  RETURN_IF_ERROR(CalibrateTrained(model, router, bench.train()));
  ASSIGN_OR_RETURN(StagedDirectory staged, StagedDirectory::Create(flags.common.out));
  RETURN_IF_ERROR(PublishExperts(experts, bench.base(), staged.path()));
  BaseWeights base = bench.base();
  if (!model.Parameters().empty()) {
    RETURN_IF_ERROR(PublishBase(bench.base(), model.Parameters(), staged.path() + "/base"));
    ASSIGN_OR_RETURN(base.generation, BaseFingerprint(staged.path() + "/base"));
  }
  RouterPublication publication{flags.name, flags.random, staged.path() + "/router"};
  if (!flags.random) publication.training = flags.Told(router.options(), steps);
  const Dataset& probes = bench.validation().examples.empty() ? bench.train() : bench.validation();
  RETURN_IF_ERROR(PublishRouter(model, base, experts, router, bench.train(), probes, publication));
  return staged.Publish();
}

// The expert of a domain bears its name; zero answers for domains that have none.
StatusOr<std::vector<int32_t>> ExpertsOfDomains(const std::vector<std::string>& domains, const std::vector<LoraExpert>& experts) {
  std::vector<int32_t> wanted;
  bool any = false;
  for (const std::string& domain : domains) {
    int32_t found = -1;
    for (size_t e = 0; e < experts.size(); ++e) {
      if (experts[e].name == domain || (found < 0 && experts[e].is_zero)) found = static_cast<int32_t>(e);
    }
    any |= found >= 0 && !experts[found].is_zero;
    wanted.push_back(found);
  }
  if (!any) return InvalidArgument("--label-loss: no domain of --data bears the name of an expert");
  return wanted;
}

// What Loss-Free Balancing aims at: each expert's share of the training tokens, by the domains that bear experts' names; zero takes what
// comes. When an expert has no domain, equal shares.
std::vector<double> LoadTarget(const Dataset& data, const std::vector<LoraExpert>& experts) {
  std::vector<double> tokens(experts.size());
  double all = 0;
  for (const Example& example : data.examples) {
    const auto size = static_cast<double>(example.tokens.size());
    all += size;
    for (size_t e = 0; e < experts.size(); ++e) {
      if (experts[e].name == data.domains[example.domain]) tokens[e] += size;
    }
  }
  bool named = true;
  for (size_t e = 0; e < experts.size(); ++e) named = named && (experts[e].is_zero || tokens[e] > 0);
  std::vector<double> target;
  for (size_t e = 0; e < experts.size(); ++e) {
    target.push_back(experts[e].is_zero ? -1 : named ? tokens[e] / all : 1.0 / static_cast<double>(experts.size()));
  }
  return target;
}

// --balance: a coefficient, or the other way to balance.
Status SetBalance(const RouterFlags& flags, const Dataset& data, const std::vector<LoraExpert>& experts, RouterOptions* options) {
  if (flags.balance == "loss-free") {
    if (!(flags.balance_rate > 0)) return InvalidArgument("--balance-rate: expected a value above 0, found %g", flags.balance_rate);
    options->loss_free = flags.balance_rate;
    options->load_target = LoadTarget(data, experts);
    return OkStatus();
  }
  const char* end = flags.balance.data() + flags.balance.size();
  const auto parsed = std::from_chars(flags.balance.data(), end, options->balance);
  if (parsed.ec == std::errc() && parsed.ptr == end && options->balance >= 0) return OkStatus();
  return InvalidArgument("--balance: expected a coefficient from 0 on, or loss-free, found %s", flags.balance);
}

// StableMoE's second stage: the first one's choices over the training data become tables.
StatusOr<std::unique_ptr<RouterModule>> Freeze(const RouterFlags& flags, const RouterArtifact& first, const RouterOptions& options,
                                               Workbench& bench, TrainableModel& model) {
  RouterOptions before = options;
  before.kind = first.manifest.kind;
  ASSIGN_OR_RETURN(const auto router, ReadRouter(first, before));
  int32_t zero = -1;
  for (size_t e = 0; e < first.manifest.experts.size(); ++e) {
    if (first.manifest.experts[e].is_zero) zero = static_cast<int32_t>(e);
  }
  ASSIGN_OR_RETURN(const DistilledTables distilled,
                   DistilTables(model, *router, bench.train(), bench.base().config.vocab_size, zero, flags.common.tokens_per_pass));
  bench.Say(
      absl::StrFormat("tables of %d token ids repeat %.1f %% of the routes of %s", distilled.seen, 100 * distilled.agreement, flags.init));
  return StableMoeFrom(first, options, distilled.tables);
}

StatusOr<std::unique_ptr<RouterModule>> OpenRouter(const RouterFlags& flags, Workbench& bench, TrainableModel& model,
                                                   const std::vector<LoraExpert>& experts) {
  const BaseWeights& base = bench.base();
  RouterOptions options = flags.router;
  RETURN_IF_ERROR(SetBalance(flags, bench.train(), experts, &options));
  options.gate = flags.gate != "auto"              ? flags.gate
                 : options.kind == "expert_choice" ? "raw"
                 : options.kind == "stablemoe"     ? "sigmoid"
                 : options.top_k == 1              ? "ste"
                                                   : "renorm";
  if (options.kind == "expert_choice") {
    for (size_t e = 0; e < experts.size(); ++e) {
      if (experts[e].is_zero) options.dispatch.never = static_cast<int32_t>(e);
    }
  }
  options.compute = base.dtype;
  const int64_t steps = bench.Options(flags.common, "").steps;
  if (IsMaxScore(options.dispatch)) {
    options.second_weight = flags.second_weight;
    options.second_weight_steps = std::max<int64_t>(1, steps);
  }
  options.roma_warmup_steps = std::llround(flags.common.warmup * static_cast<double>(steps));
  if (flags.init.empty()) {
    return NewRouter(options, base.config.num_layers, base.config.hidden_size, static_cast<int32_t>(experts.size()), flags.common.seed);
  }
  ASSIGN_OR_RETURN(const RouterArtifact artifact, ReadRouterArtifact(flags.init));
  std::vector<RouterExpertBinding> bindings;
  for (const LoraExpert& expert : experts) bindings.push_back({expert.name, expert.generation, expert.is_zero});
  RETURN_IF_ERROR(CheckRouterBinding(artifact.manifest, base.generation, bindings));
  if (options.kind == "stablemoe" && artifact.manifest.kind != "stablemoe") return Freeze(flags, artifact, options, bench, model);
  ASSIGN_OR_RETURN(auto router, ReadRouter(artifact, options));
  if (router->Parameters().empty())
    return InvalidArgument("--init %s: a router of kind %s has nothing to train", flags.init, artifact.manifest.kind);
  return router;
}

// Between experts that share a row, and for experts to learn.
Status CheckOrthogonality(const RouterFlags& flags, const Trained& trained) {
  if (flags.orthogonality == 0) return OkStatus();
  if (!(flags.orthogonality > 0))
    return InvalidArgument("--expert-orthogonality: expected a value from 0 on, found %g", flags.orthogonality);
  if (!trained.experts) return InvalidArgument("--expert-orthogonality changes experts, and they stand still: --train router_mlp");
  if (flags.router.top_k < 2)
    return InvalidArgument("--expert-orthogonality compares experts that answer a token together: --top-k 2 or more");
  return OkStatus();
}

Status RunRouter(RouterFlags& flags, Communicator& world) {
  ASSIGN_OR_RETURN(const Trained trained, ParseTrain(flags.train));
  if (flags.random && !flags.init.empty()) return InvalidArgument("--random draws a router, --init reads one: choose");
  RETURN_IF_ERROR(CheckOrthogonality(flags, trained));
  ASSIGN_OR_RETURN(const auto bench, Workbench::Open(flags.common, "router " + flags.name, world));
  ASSIGN_OR_RETURN(std::vector<LoraExpert> experts,
                   OpenExperts(flags.experts, bench->compute(), bench->base().config, trained.experts, flags.common.seed));
  if (experts.size() < 2) return InvalidArgument("a router chooses among at least two experts, zero included; found %d", experts.size());
  // What cannot be published is refused before it is trained.
  for (const LoraExpert& expert : experts) {
    if (!expert.Parameters().empty()) RETURN_IF_ERROR(OptionsOf(expert).status());
  }
  const ModelOptions model_options{trained.attention, flags.common.recompute};
  const auto model = MakeFastModel(bench->compute(), bench->base(), experts, model_options);
  ASSIGN_OR_RETURN(const auto router, OpenRouter(flags, *bench, *model, experts));
  RunTask task;
  task.model = model.get();
  task.experts = &experts;
  task.router = router.get();
  if (router->options().label_loss > 0) {
    ASSIGN_OR_RETURN(task.expert_of_domain, ExpertsOfDomains(bench->train().domains, experts));
  }
  if (trained.router) task.parameters = router->Parameters();
  for (const LoraExpert& expert : experts) {
    for (Parameter& parameter : expert.Parameters()) task.parameters.push_back(parameter);
  }
  for (Parameter& parameter : model->Parameters()) task.parameters.push_back(parameter);

  std::string summary = "drawn at random, UNTRAINED";
  int64_t steps = 0;
  if (!flags.random) {
    const RouterOptions& r = router->options();
    std::optional<RouteManifold> manifold;
    if (r.roma > 0) {
      ASSIGN_OR_RETURN(manifold, RouteManifold::Measure(*model, *router, bench->train(), flags.manifold, flags.common.tokens_per_pass));
      bench->Say(absl::StrFormat("%d of %d training examples are answered right: their routes pull at those of their neighbours",
                                 manifold->right(), bench->train().examples.size()));
      task.manifold = &*manifold;
    }
    std::string decisive = flags.Decisive(r);
    for (const LoraExpert& expert : experts) decisive += "|" + expert.name + "=" + expert.generation;
    RunOptions options = bench->Options(flags.common, decisive);
    options.label_steps = flags.label_steps;
    options.orthogonality = flags.orthogonality;
    const Dataset* validation = bench->validation().examples.empty() ? nullptr : &bench->validation();
    ASSIGN_OR_RETURN(const RunReport report, Train(task, bench->train(), validation, options, world, bench->log()));
    if (report.stopped)
      return bench->first() ? Cancelled("stopped at step %d; the same command goes on from there", report.steps) : OkStatus();
    summary = Summary(report);
    steps = report.steps;
    for (const auto& [name, value] : RoutingScalars(report.validation, experts)) summary += absl::StrFormat("\n  %-28s %.3f", name, value);
  }
  if (!bench->first()) return OkStatus();
  if (bench->log() != nullptr) RETURN_IF_ERROR(bench->log()->Close());
  RETURN_IF_ERROR(Publish(flags, *bench, *model, experts, *router, steps));
  RETURN_IF_ERROR(CheckpointStore(bench->run_directory() + "/checkpoints").RemoveAll());
  std::printf("%s: %s router, top-%d of %zu; %s\n", flags.common.out.c_str(), router->options().kind.c_str(), router->options().top_k,
              experts.size(), summary.c_str());
  return OkStatus();
}

}  // namespace

void AddRouterCommand(CLI::App& app, Communicator& world, Status* result) {
  auto flags = std::make_shared<RouterFlags>();
  CLI::App* command =
      app.add_subcommand("router", "Train a router over a base and experts; writes OUT/router, and what was trained with it");
  flags->AddTo(*command);
  command->callback([flags, &world, result] { *result = RunRouter(*flags, world); });
}

}  // namespace switchyard::trainer
