// switchyard-trainer calibrate: routers made without training, and one more expert for such a router.
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>

#include "trainer/commands/common.h"
#include "trainer/commands/experts.h"
#include "trainer/run/calibration.h"
#include "trainer/run/gate_training.h"
#include "trainer/run/hash_tables.h"

namespace switchyard::trainer {

namespace {

struct Flags {
  CommonFlags common;
  ExpertFlags experts;
  CalibrationOptions calibration;
  HiddenStateOptions states;
  std::string table = "balanced";
  bool uncalibrated = false;
  std::string add, to;  // NAME=DIRECTORY, a router artifact
};

// By domain: the expert of that name, -1 for none.
std::vector<int32_t> ExpertsOf(const Dataset& data, const std::vector<LoraExpert>& experts) {
  std::vector<int32_t> found;
  for (const std::string& domain : data.domains) {
    found.push_back(-1);
    for (size_t e = 0; e < experts.size(); ++e) {
      if (experts[e].name == domain && !experts[e].is_zero) found.back() = static_cast<int32_t>(e);
    }
  }
  return found;
}

StatusOr<Dataset> DomainOf(const Dataset& data, const std::string& name) {
  Dataset part;
  part.domains = data.domains;
  for (const Example& example : data.examples) {
    if (data.domains[example.domain] == name) part.examples.push_back(example);
  }
  if (part.examples.empty()) return InvalidArgument("phatgoose and gmm learn each expert on its own data: no --data %s=PATH", name);
  return part;
}

StatusOr<std::vector<at::Tensor>> TrainGateOf(const Flags& flags, Workbench& bench, TrainableModel& model, std::vector<LoraExpert>& experts,
                                              size_t e) {
  ASSIGN_OR_RETURN(const Dataset data, DomainOf(bench.train(), experts[e].name));
  RunOptions options = bench.Options(flags.common, "gate of " + experts[e].name);
  options.directory = flags.common.out + ".run";  // nothing is there: a gate has no checkpoints
  ASSIGN_OR_RETURN(std::vector<at::Tensor> gate,
                   TrainGate(model, experts, static_cast<int32_t>(e), bench.base().config, data, options, bench.world()));
  bench.Say(absl::StrFormat("gate of %s: %d steps", experts[e].name, options.steps));
  return gate;
}

// Base and data, without the run directory of a training.
StatusOr<std::unique_ptr<Workbench>> Open(const CommonFlags& flags, Communicator& world) {
  if (std::filesystem::exists(flags.out)) return AlreadyExists("--out %s is there already: choose another name or remove it", flags.out);
  CommonFlags own = flags;
  own.out.clear();
  return Workbench::Open(own, "calibrate", world);
}

Status Write(const Flags& flags, const RouterAssembly& router) {
  RETURN_IF_ERROR(router.Write(flags.common.out));
  const RouterManifest& manifest = router.manifest();
  std::string experts;
  for (const RouterExpertBinding& expert : manifest.experts) experts += (experts.empty() ? "" : ", ") + expert.name;
  std::printf("%s: %s router, top-%d of [%s], %d golden probes a layer; %s\n", flags.common.out.c_str(), manifest.kind.c_str(),
              manifest.top_k, experts.c_str(), manifest.golden_probes,
              !manifest.derive.empty() ? "an expert that joins is routed to at once"
              : manifest.separable     ? "an expert that joins takes a new artifact: --add"
                                       : "for another set of experts it is made anew");
  return OkStatus();
}

Status RunHash(const Flags& flags, const Workbench& bench, const std::vector<LoraExpert>& experts) {
  if (flags.calibration.top_k != 1) return InvalidArgument("--top-k: a hash router chooses 1 expert, found %d", flags.calibration.top_k);
  const HashOptions options{flags.calibration.name, flags.table, flags.common.seed};
  ASSIGN_OR_RETURN(const RouterAssembly router, MakeHashRouter(options, bench.base(), experts, bench.train()));
  return Write(flags, router);
}

Status RunCalibrate(Flags& flags, Communicator& world) {
  if (world.size() > 1) return InvalidArgument("calibrate runs as one process, found %d", world.size());
  if (flags.experts.experts.empty()) return InvalidArgument("--expert: expected at least one");
  flags.calibration.calibrated = !flags.uncalibrated;
  ASSIGN_OR_RETURN(const auto bench, Open(flags.common, world));
  ASSIGN_OR_RETURN(std::vector<LoraExpert> experts,
                   OpenExperts(flags.experts, bench->compute(), bench->base().config, false, flags.common.seed));
  if (flags.calibration.kind == "hash") return RunHash(flags, *bench, experts);
  CalibrationInput input;
  input.base = &bench->base();
  input.experts = &experts;
  std::unique_ptr<TrainableModel> model;
  std::optional<HiddenStates> states;
  if (!bench->train().examples.empty()) {
    model = MakeFastModel(bench->compute(), bench->base(), experts, {});
    input.expert_of_domain = ExpertsOf(bench->train(), experts);
    ASSIGN_OR_RETURN(
        states, CollectHiddenStates(*model, static_cast<int32_t>(experts.size()), bench->train(), input.expert_of_domain, flags.states));
    input.states = &*states;
  }
  if (flags.calibration.kind == "phatgoose") {
    if (model == nullptr) return InvalidArgument("phatgoose trains each expert's gate on its own data: --data NAME=PATH of every expert");
    for (size_t e = 0; e < experts.size(); ++e) {
      input.gates.emplace_back();
      if (experts[e].is_zero) continue;
      ASSIGN_OR_RETURN(input.gates.back(), TrainGateOf(flags, *bench, *model, experts, e));
    }
  }
  ASSIGN_OR_RETURN(const RouterAssembly router, CalibrateRouter(flags.calibration, input));
  return Write(flags, router);
}

Status RunAdd(Flags& flags, Communicator& world) {
  if (flags.add.empty() || flags.to.empty()) return InvalidArgument("--add NAME=DIRECTORY and --to ROUTER belong together");
  if (!flags.experts.experts.empty()) return InvalidArgument("--add takes its router's experts from the router: no --expert");
  ASSIGN_OR_RETURN(const auto bench, Open(flags.common, world));
  ASSIGN_OR_RETURN(const RouterArtifact artifact, ReadRouterArtifact(flags.to));
  ExpertFlags one;
  one.experts = {flags.add};
  one.zero = false;
  ASSIGN_OR_RETURN(std::vector<LoraExpert> experts, OpenExperts(one, bench->compute(), bench->base().config, false, flags.common.seed));
  std::vector<at::Tensor> gate;
  std::optional<HiddenStates> states;
  if (artifact.manifest.kind == "phatgoose" || artifact.manifest.kind == "gmm") {
    ASSIGN_OR_RETURN(const Dataset own, DomainOf(bench->train(), experts[0].name));
    const auto model = MakeFastModel(bench->compute(), bench->base(), experts, {});
    if (artifact.manifest.kind == "gmm") {
      ASSIGN_OR_RETURN(states, CollectHiddenStates(*model, 1, own, std::vector<int32_t>(own.domains.size(), 0), flags.states));
    } else {
      ASSIGN_OR_RETURN(gate, TrainGateOf(flags, *bench, *model, experts, 0));
    }
  }
  ASSIGN_OR_RETURN(const RouterAssembly router,
                   AddExpert(artifact, bench->base(), experts[0], gate, states ? &*states : nullptr, flags.calibration));
  return Write(flags, router);
}

void AddDataAndRun(CLI::App& app, CommonFlags& common) {
  app.add_option("--base", common.base, "Hugging Face directory of the base model")->required();
  app.add_option("--out", common.out, "router artifact to write; must not exist")->required();
  app.add_option("--dtype", common.dtype, "auto, bf16 or f32: of the base's products")->capture_default_str();
  app.add_option("--threads", common.threads, "0: the number of cores")->capture_default_str();
  app.add_option("--data", common.data,
                 "[DOMAIN=]PATH: text to calibrate over; a domain that bears an expert's name is answered by it, others by the base")
      ->group("Data");
  app.add_option("--format", common.format)->capture_default_str()->group("Data");
  app.add_option("--target", common.target, "text, letter, both or dense2moe")->capture_default_str()->group("Data");
  app.add_option("--template", common.template_file)->group("Data");
  app.add_flag("--append-eos", common.append_eos)->group("Data");
  app.add_option("--max-tokens", common.max_tokens)->capture_default_str()->group("Data");
  app.add_option("--max-records", common.max_records, "of each source, drawn by the seed; 0: all")->capture_default_str()->group("Data");
  app.add_option("--tokens-per-pass", common.tokens_per_pass)->capture_default_str()->group("Data");
  app.add_option("--seed", common.seed)->capture_default_str();
  app.add_option("--steps", common.steps, "phatgoose: of each expert's gate")->capture_default_str()->group("PHATGOOSE");
  app.add_option("--batch", common.batch, "examples a step")->capture_default_str()->check(CLI::PositiveNumber)->group("PHATGOOSE");
  app.add_option("--lr", common.learning_rate)->capture_default_str()->group("PHATGOOSE");
  app.add_flag("--quiet", common.quiet);
}

}  // namespace

void AddCalibrateCommand(CLI::App& app, Communicator& world, Status* result) {
  auto flags = std::make_shared<Flags>();
  CommonFlags& common = flags->common;
  common.validation_share = 0;
  common.tensorboard = false;
  common.steps = 100;
  common.learning_rate = 5e-3;
  common.evaluate_every = 0;
  CalibrationOptions& options = flags->calibration;
  CLI::App* command = app.add_subcommand(
      "calibrate", "Make a router without training: its experts are scored one by one, or tokens looked up; or add an expert to one");
  AddDataAndRun(*command, common);
  flags->experts.AddTo(*command, /*may_be_fresh=*/false);
  command->add_option("--add", flags->add, "NAME=DIRECTORY: the expert that joins --to")->group("Experts");
  command->add_option("--to", flags->to, "a router artifact; OUT is that one with the new expert")->group("Experts");
  command->add_option("--name", options.name)->capture_default_str()->group("Router");
  command->add_option("--kind", options.kind, "arrow, aoe, ermoe, gmm or phatgoose; or hash, a table of token ids")
      ->capture_default_str()
      ->group("Router");
  command->add_option("--top-k", options.top_k, "experts a token")->capture_default_str()->group("Router");
  command->add_option("--weight-mode", options.weight_mode, "renorm, raw or one")->capture_default_str()->group("Router");
  command->add_option("--norm", options.norm, "aoe: norm_ba, the length of the delta; norm_a, of A x")
      ->capture_default_str()
      ->group("Router");
  command->add_flag("--uncalibrated", flags->uncalibrated, "aoe: lengths as they are")->group("Router");
  command
      ->add_option("--sample-rows", options.sample_rows,
                   "aoe: hidden states a layer that lengths are compared over; the artifact keeps them")
      ->capture_default_str()
      ->group("Router");
  command
      ->add_option("--table", flags->table,
                   "hash: balanced (experts get equally many tokens of --data), frequency (bands from frequent to rare ids), random")
      ->capture_default_str()
      ->group("Router");
  command->add_option("--temperature", options.temperature, "arrow: scores are divided by it")->capture_default_str()->group("Router");
  command->add_option("--dimensions", options.dimensions, "gmm: of the projection that all experts share")
      ->capture_default_str()
      ->group("Router");
  command->add_option("--components", options.mixture.components, "gmm: Gaussians an expert, at most")
      ->capture_default_str()
      ->group("Router");
  command->add_option("--zero-score", options.zero_score, "what the zero expert scores in every layer")->group("Router");
  command
      ->add_option(
          "--zero-quantile", options.zero_quantile,
          "without --zero-score: this quantile of the best expert's score, over the domains that bear no expert's name, or over all --data")
      ->capture_default_str()
      ->group("Router");
  command->add_option("--rows", flags->states.rows, "hidden states a layer that are looked at")
      ->capture_default_str()
      ->check(CLI::PositiveNumber)
      ->group("Router");
  command->callback([flags, &world, result] {
    flags->states.tokens_per_pass = flags->common.tokens_per_pass;
    flags->states.seed = flags->calibration.mixture.seed = flags->common.seed;
    *result = flags->add.empty() && flags->to.empty() ? RunCalibrate(*flags, world) : RunAdd(*flags, world);
  });
}

}  // namespace switchyard::trainer
