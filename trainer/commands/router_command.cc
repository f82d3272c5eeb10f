// switchyard-trainer router: a router over a frozen base and experts, or trained together with experts or attention.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>

#include "engine/artifact/atomic_file.h"
#include "trainer/commands/common.h"
#include "trainer/commands/experts.h"
#include "trainer/run/checkpoint.h"
#include "trainer/run/distilled_tables.h"
#include "trainer/run/publish.h"
#include "trainer/run/route_manifold.h"

namespace switchyard::trainer {

namespace {

struct Flags {
  CommonFlags common;
  ExpertFlags experts;
  RouterOptions router;
  ManifoldOptions manifold;
  std::string name = "router", gate = "auto", train = "router", init, balance = "0";
  double balance_rate = 1e-3, second_weight = 4, orthogonality = 0;
  int64_t label_steps = 0;
  bool random = false;
};

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

// What the manifest tells of the training.
std::map<std::string, std::string> Told(const Flags& flags, const RouterOptions& r, int64_t steps) {
  std::map<std::string, std::string> told = {{"train", flags.train},
                                             {"gate", r.gate},
                                             {"dispatch", r.dispatch.rule},
                                             {"steps", std::to_string(steps)},
                                             {"learning-rate", absl::StrFormat("%g", flags.common.learning_rate)},
                                             {"seed", std::to_string(flags.common.seed)}};
  const auto add = [&](const char* option, double value) {
    if (value > 0) told[option] = absl::StrFormat("%g", value);
  };
  add("balance", r.balance);
  add("loss-free", r.loss_free);
  add("score-variance", r.score_variance);
  add("expert-orthogonality", flags.orthogonality);
  add("z-loss", r.z_loss);
  add("label-loss", r.label_loss);
  add("roma", r.roma);
  if (r.kind == "lpr") {
    add("latent-loss", r.latent.loss);
    add("latent-diversity", r.latent.diversity);
    add("latent-kl", r.latent.kl);
    add("latent-align", r.latent.align);
    add("latent-decay", r.latent.decay);
  }
  add("label-steps", static_cast<double>(flags.label_steps));
  add("jitter", r.jitter);
  return told;
}

Status Publish(const Flags& flags, const Workbench& bench, TrainableModel& model, std::vector<LoraExpert>& experts, RouterModule& router,
               int64_t steps) {
  RETURN_IF_ERROR(CalibrateTrained(model, router, bench.train()));
  ASSIGN_OR_RETURN(StagedDirectory staged, StagedDirectory::Create(flags.common.out));
  RETURN_IF_ERROR(PublishExperts(experts, bench.base(), staged.path()));
  BaseWeights base = bench.base();
  if (!model.Parameters().empty()) {
    RETURN_IF_ERROR(PublishBase(bench.base(), model.Parameters(), staged.path() + "/base"));
    ASSIGN_OR_RETURN(base.generation, BaseFingerprint(staged.path() + "/base"));
  }
  RouterPublication publication{flags.name, flags.random, staged.path() + "/router"};
  if (!flags.random) publication.training = Told(flags, router.options(), steps);
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
Status SetBalance(const Flags& flags, const Dataset& data, const std::vector<LoraExpert>& experts, RouterOptions* options) {
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
StatusOr<std::unique_ptr<RouterModule>> Freeze(const Flags& flags, const RouterArtifact& first, const RouterOptions& options,
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

StatusOr<std::unique_ptr<RouterModule>> OpenRouter(const Flags& flags, Workbench& bench, TrainableModel& model,
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
Status CheckOrthogonality(const Flags& flags, const Trained& trained) {
  if (flags.orthogonality == 0) return OkStatus();
  if (!(flags.orthogonality > 0))
    return InvalidArgument("--expert-orthogonality: expected a value from 0 on, found %g", flags.orthogonality);
  if (!trained.experts) return InvalidArgument("--expert-orthogonality changes experts, and they stand still: --train router_mlp");
  if (flags.router.top_k < 2)
    return InvalidArgument("--expert-orthogonality compares experts that answer a token together: --top-k 2 or more");
  return OkStatus();
}

Status RunRouter(Flags& flags, Communicator& world) {
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
    std::string decisive = absl::StrFormat("router|%s|%s|%s|%d|%s|%g|%g|%g|%g|%g|%d", flags.train, flags.init, r.kind, r.top_k, r.gate,
                                           r.balance, r.z_loss, r.jitter, r.dropout, r.label_loss, flags.label_steps);
    if (r.loss_free > 0) decisive += absl::StrFormat("|loss-free %g", r.loss_free);
    if (r.dispatch.rule != "top-k")
      decisive += absl::StrFormat("|dispatch %s %g %g", r.dispatch.rule, r.dispatch.capacity_factor, r.second_weight);
    if (r.kind == "lpr") {
      const LatentOptions& o = r.latent;
      decisive += absl::StrFormat("|lpr %d %g %g %g %g %g", o.dimension, o.loss, o.diversity, o.kl, o.align, o.decay);
    }
    if (r.score_variance > 0) decisive += absl::StrFormat("|score-variance %g", r.score_variance);
    if (flags.orthogonality > 0) decisive += absl::StrFormat("|orthogonality %g", flags.orthogonality);
    std::optional<RouteManifold> manifold;
    if (r.roma > 0) {
      const ManifoldOptions& m = flags.manifold;
      decisive += absl::StrFormat("|roma %g %d %d %g %g", r.roma, m.neighbours, m.layers, m.sigma, m.right);
      ASSIGN_OR_RETURN(manifold, RouteManifold::Measure(*model, *router, bench->train(), m, flags.common.tokens_per_pass));
      bench->Say(absl::StrFormat("%d of %d training examples are answered right: their routes pull at those of their neighbours",
                                 manifold->right(), bench->train().examples.size()));
      task.manifold = &*manifold;
    }
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
  auto flags = std::make_shared<Flags>();
  flags->router.dropout = 0.1;
  CLI::App* command =
      app.add_subcommand("router", "Train a router over a base and experts; writes OUT/router, and what was trained with it");
  command->add_option("--name", flags->name)->capture_default_str()->group("Router");
  command
      ->add_option("--kind", flags->router.kind,
                   "dense2moe_mlp, linear, expert_choice or lpr; stablemoe with --init, a linear router of gate sigmoid, whose choices it "
                   "freezes into tables")
      ->capture_default_str()
      ->group("Router");
  command->add_option("--top-k", flags->router.top_k, "experts a token")->capture_default_str()->group("Router");
  command
      ->add_option("--gate", flags->gate,
                   "ste (top-1, straight-through), renorm (divided by their sum), raw (Switch), sigmoid (top-1, StableMoE); auto: by kind, "
                   "else ste or renorm by --top-k")
      ->capture_default_str()
      ->group("Router");
  command
      ->add_option(
          "--balance", flags->balance,
          "coefficient of the balance loss; or loss-free (linear): a bias that only decides who is chosen, towards the training mix")
      ->capture_default_str()
      ->group("Router");
  command->add_option("--balance-rate", flags->balance_rate, "loss-free: how far the bias moves a step")
      ->capture_default_str()
      ->group("Router");
  command
      ->add_option("--dispatch", flags->router.dispatch.rule,
                   "which rows of a training pass get which expert: top-k, each its own; capacity (Switch: what an expert cannot take is "
                   "dropped); max-score (none is dropped, all experts get equally many); "
                   "max-score-iterative (nearly that, faster). Served is always top-k")
      ->capture_default_str()
      ->group("Router");
  command
      ->add_option("--capacity-factor", flags->router.dispatch.capacity_factor,
                   "capacity, and kind expert_choice: rows an expert takes, of its equal share")
      ->capture_default_str()
      ->group("Router");
  command
      ->add_option("--second-weight", flags->second_weight,
                   "max-score: gates after a row's first are multiplied by this at the first step, by 1 at the last")
      ->capture_default_str()
      ->group("Router");
  command
      ->add_option("--score-variance", flags->router.score_variance,
                   "coefficient of the variance of each expert's score over the tokens, which is to be large (2505.22323, L_v)")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group("Router");
  LatentOptions& latent = flags->router.latent;
  command->add_option("--latent-dimension", latent.dimension, "of the latent space")->capture_default_str()->group("Kind lpr");
  command->add_option("--latent-loss", latent.loss, "coefficient of the three losses below together")
      ->capture_default_str()
      ->group("Kind lpr");
  command->add_option("--latent-diversity", latent.diversity, "latents, and keys, at right angles")
      ->capture_default_str()
      ->group("Kind lpr");
  command->add_option("--latent-kl", latent.kl, "latents distributed as a standard normal")->capture_default_str()->group("Kind lpr");
  command->add_option("--latent-align", latent.align, "keys at the mean of their tokens")->capture_default_str()->group("Kind lpr");
  command->add_option("--latent-decay", latent.decay, "after a step a key is so much itself, the rest the mean of its tokens; 1: it stays")
      ->capture_default_str()
      ->group("Kind lpr");
  command
      ->add_option("--roma", flags->router.roma,
                   "coefficient of RoMA's regulariser (2511.07419): an example's route at its prompt's end is pulled towards those of its "
                   "neighbours that the starting model answers right; rises over the warm-up")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group("RoMA");
  command->add_option("--roma-neighbours", flags->manifold.neighbours, "of each example")->capture_default_str()->group("RoMA");
  command->add_option("--roma-layers", flags->manifold.layers, "the last so many are pulled")->capture_default_str()->group("RoMA");
  command->add_option("--roma-sigma", flags->manifold.sigma, "width of the kernel over the distances 1 - cosine")
      ->capture_default_str()
      ->group("RoMA");
  command
      ->add_option("--roma-right", flags->manifold.right,
                   "an example is answered right when at least this part of its answer's tokens are the most probable ones")
      ->capture_default_str()
      ->group("RoMA");
  command
      ->add_option(
          "--expert-orthogonality", flags->orthogonality,
          "with --train router_mlp: coefficient of what the outputs of experts that share a token have in common (2505.22323, L_o)")
      ->capture_default_str()
      ->group("Router");
  command->add_option("--z-loss", flags->router.z_loss, "coefficient of the z-loss")->capture_default_str()->group("Router");
  command
      ->add_option("--label-loss", flags->router.label_loss,
                   "coefficient of the cross entropy against the expert named as a row's domain, zero for others")
      ->capture_default_str()
      ->group("Router");
  command
      ->add_option("--label-steps", flags->label_steps,
                   "first so many steps on the router's own losses alone, which need no way back through the model")
      ->capture_default_str()
      ->group("Router");
  command->add_option("--jitter", flags->router.jitter, "multiplies inputs by U(1 - jitter, 1 + jitter)")
      ->capture_default_str()
      ->group("Router");
  command->add_option("--router-dropout", flags->router.dropout, "between the layers of dense2moe_mlp")
      ->capture_default_str()
      ->group("Router");
  command->add_option("--train", flags->train, "router, mlp (the experts), attention, or several joined: router_mlp")
      ->capture_default_str()
      ->group("Router");
  command->add_option("--init", flags->init, "a router artifact to start from")->group("Router");
  command->add_flag("--random", flags->random, "publish a router as it is drawn, untrained: a control")->group("Router");
  flags->experts.AddTo(*command, /*may_be_fresh=*/true);
  flags->common.AddTo(*command, 5e-4);
  command->callback([flags, &world, result] { *result = RunRouter(*flags, world); });
}

}  // namespace switchyard::trainer
