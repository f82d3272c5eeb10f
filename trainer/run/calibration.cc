#include "trainer/run/calibration.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "engine/tensor/compute.h"

namespace switchyard::trainer {

namespace {

const Compute kPlain{Backend::kReference, at::kFloat, nullptr};

DirectionRule RuleOf(const CalibrationOptions& options) {
  if (options.kind == "arrow") return DirectionRule::kTopDirection;
  if (options.kind == "ermoe") return DirectionRule::kRowSpace;
  if (options.kind == "aoe") return options.norm == "norm_a" ? DirectionRule::kNormA : DirectionRule::kNormBa;
  return DirectionRule::kNone;
}

Status CheckOptions(const CalibrationOptions& options, const CalibrationInput& input) {
  if (!CanCalibrate(options.kind))
    return InvalidArgument("--kind: expected arrow, aoe, ermoe, gmm, hash or phatgoose, found %s", options.kind);
  if (options.norm != "norm_a" && options.norm != "norm_ba")
    return InvalidArgument("--norm: expected norm_a or norm_ba, found %s", options.norm);
  if (!(options.temperature > 0)) return InvalidArgument("--temperature: expected a value above 0, found %g", options.temperature);
  if (options.temperature != 1 && options.kind != "arrow")
    return InvalidArgument("--temperature is of the kind arrow, found %s", options.kind);
  if (!(options.zero_quantile >= 0 && options.zero_quantile <= 1))
    return InvalidArgument("--zero-quantile: expected 0 to 1, found %g", options.zero_quantile);
  const auto experts = static_cast<int32_t>(input.experts->size());
  if (options.top_k < 1 || options.top_k > experts)
    return InvalidArgument("--top-k: expected 1 to %d (the experts), found %d", experts, options.top_k);
  RETURN_IF_ERROR(ParseWeightMode(options.weight_mode).status());
  const bool zero = std::any_of(input.experts->begin(), input.experts->end(), [](const LoraExpert& e) { return e.is_zero; });
  if (zero && !options.zero_score && input.states == nullptr)
    return InvalidArgument("the zero expert needs --zero-score, or --data to find one (or --no-zero)");
  if (options.kind == "ermoe" && options.zero_score && !(*options.zero_score > 0 && *options.zero_score <= 1)) {
    return InvalidArgument("--zero-score: of ermoe it is a share above 0 and up to 1, found %g", *options.zero_score);
  }
  if (options.kind == "aoe" && options.calibrated && input.states == nullptr)
    return InvalidArgument("aoe is calibrated over --data (or --uncalibrated)");
  if (options.kind == "aoe" && options.calibrated && options.sample_rows < 1)
    return InvalidArgument("--sample-rows: expected at least 1, found %d", options.sample_rows);
  if (options.kind == "gmm" && input.states == nullptr) return InvalidArgument("gmm is fitted to --data NAME=PATH of every expert");
  if (options.kind == "gmm" && (options.dimensions < 1 || options.mixture.components < 1))
    return InvalidArgument("gmm: --dimensions and --components are at least 1");
  if (options.kind == "phatgoose" && input.gates.size() != input.experts->size())
    return InvalidArgument("phatgoose needs a gate of each expert");
  return OkStatus();
}

Status CheckExpert(const LoraExpert& expert) {
  const bool any = std::any_of(expert.layers.begin(), expert.layers.end(), [](const LoraBlock& block) { return block.gate.has_value(); });
  if (any) return OkStatus();
  return InvalidArgument("expert %s changes no gate projection: there is nothing to score it by", expert.name);
}

// Every (N / S)-th row: hidden states lie in turns of the domains.
at::Tensor SampleOf(const at::Tensor& rows, int64_t count) {
  const int64_t step = std::max<int64_t>(1, rows.size(0) / count);
  return rows.slice(0, 0, std::min(rows.size(0), count * step), step).contiguous();
}

// The three of these set what expert `e` is scored by; the layers' shared tensors are there.
Status SetDirections(int32_t e, const LoraExpert& expert, DirectionRule rule, RouterAssembly* router) {
  RETURN_IF_ERROR(CheckExpert(expert));
  const ExpertGates gates = GatesOf(expert);
  for (int32_t l = 0; l < router->manifest().num_layers; ++l) {
    const at::Tensor* temperature = router->Find(l, "temperature");
    const at::Tensor* sample = router->Find(l, "sample");
    const at::Tensor own = DirectionsOf(rule, gates.layers[l], router->manifest().hidden_size);
    router->Set(l, absl::StrFormat("directions.%d", e),
                Calibrated(own, temperature == nullptr ? 1 : temperature->item<float>(), sample == nullptr ? at::Tensor() : *sample));
  }
  return OkStatus();
}

void SetGates(int32_t e, const std::vector<at::Tensor>& gate, RouterAssembly* router) {
  for (int32_t l = 0; l < router->manifest().num_layers; ++l) router->Set(l, absl::StrFormat("gate.%d", e), gate[l]);
}

// rows [L] of [n, H].
Status SetMixture(int32_t e, const std::string& name, const std::vector<at::Tensor>& rows, const MixtureFitOptions& options,
                  RouterAssembly* router) {
  for (int32_t l = 0; l < router->manifest().num_layers; ++l) {
    const Projection projection{*router->Find(l, "center"), *router->Find(l, "projection")};
    const auto fit = FitMixture(Project(projection, rows[l]), options);
    if (!fit.ok()) return Annotate(fit.status(), absl::StrFormat("expert %s, layer %d", name, l));
    router->Set(l, absl::StrFormat("log_weight.%d", e), fit->log_weight.to(at::kFloat));
    router->Set(l, absl::StrFormat("mean.%d", e), fit->mean.to(at::kFloat));
    router->Set(l, absl::StrFormat("precision.%d", e), fit->variance.reciprocal().to(at::kFloat));
  }
  return OkStatus();
}

// The rows of the domains that expert `e` answers, [L] of [n, H].
StatusOr<std::vector<at::Tensor>> RowsOf(int32_t e, const CalibrationInput& input) {
  std::vector<int64_t> rows;
  for (size_t row = 0; row < input.states->domains.size(); ++row) {
    if (input.expert_of_domain[input.states->domains[row]] == e) rows.push_back(static_cast<int64_t>(row));
  }
  if (rows.empty()) return InvalidArgument("gmm is fitted to each expert's own data: no --data %s=PATH", (*input.experts)[e].name);
  std::vector<at::Tensor> layers;
  for (const at::Tensor& layer : input.states->layers) layers.push_back(layer.index_select(0, at::tensor(rows, at::kLong)));
  return layers;
}

Status SetExpert(int32_t e, const CalibrationOptions& options, const CalibrationInput& input, RouterAssembly* router) {
  const LoraExpert& expert = (*input.experts)[e];
  if (options.kind == "phatgoose") {
    SetGates(e, input.gates[e], router);
    return OkStatus();
  }
  if (options.kind != "gmm") return SetDirections(e, expert, RuleOf(options), router);
  ASSIGN_OR_RETURN(const std::vector<at::Tensor> rows, RowsOf(e, input));
  return SetMixture(e, expert.name, rows, options.mixture, router);
}

// What all experts share, and what one that joins later is compared over.
Status SetShared(const CalibrationOptions& options, const CalibrationInput& input, RouterAssembly* router) {
  for (int32_t l = 0; l < router->manifest().num_layers; ++l) {
    if (options.kind == "aoe" && options.calibrated) router->Set(l, "sample", SampleOf(input.states->layers[l], options.sample_rows));
    if (options.temperature != 1) router->Set(l, "temperature", at::full({1}, options.temperature, at::kFloat));
    if (options.kind != "gmm") continue;
    const auto projection = PrincipalComponents(input.states->layers[l], options.dimensions);
    if (!projection.ok()) return Annotate(projection.status(), absl::StrFormat("layer %d", l));
    router->Set(l, "center", projection->center);
    router->Set(l, "projection", projection->directions);
  }
  return OkStatus();
}

// Linear between the two neighbours.
double Quantile(std::vector<float> values, double q) {
  std::sort(values.begin(), values.end());
  const double at = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (at - static_cast<double>(below)) * (values[above] - values[below]);
}

// The rows over which the zero expert's score is set.
at::Tensor RowsOfZero(const CalibrationInput& input) {
  std::vector<int64_t> rows, all;
  for (size_t row = 0; row < input.states->domains.size(); ++row) {
    all.push_back(static_cast<int64_t>(row));
    const auto domain = static_cast<size_t>(input.states->domains[row]);
    if (domain < input.expert_of_domain.size() && input.expert_of_domain[domain] < 0) rows.push_back(static_cast<int64_t>(row));
  }
  return at::tensor(rows.empty() ? all : rows, at::kLong);
}

// Sets `zero_score` of every layer. A first value stands there while the engine's router says what the others score.
Status SetZeroScore(const CalibrationOptions& options, const CalibrationInput& input, int32_t zero, RouterAssembly* router) {
  const auto set = [&](int32_t l, double score) { router->Set(l, "zero_score", at::full({1}, score, at::kFloat)); };
  const int32_t layers = router->manifest().num_layers;
  for (int32_t l = 0; l < layers; ++l) set(l, options.zero_score.value_or(1));
  if (options.zero_score) return OkStatus();
  ASSIGN_OR_RETURN(const std::unique_ptr<Router> scorer, router->Route(kPlain));
  const at::Tensor rows = RowsOfZero(input);
  for (int32_t l = 0; l < layers; ++l) {
    at::Tensor logits = scorer->Logits(l, input.states->layers[l].index_select(0, rows));
    logits.select(1, zero).fill_(-std::numeric_limits<float>::infinity());
    const at::Tensor best = std::get<0>(logits.max(1)).contiguous();
    const double score = Quantile({best.const_data_ptr<float>(), best.const_data_ptr<float>() + best.numel()}, options.zero_quantile);
    if (!std::isfinite(score)) return Internal("layer %d: the experts' scores are not finite", l);
    set(l, options.kind == "ermoe" ? std::exp(score) : score);
  }
  return OkStatus();
}

}  // namespace

bool CanCalibrate(const std::string& kind) {
  return kind == "arrow" || kind == "aoe" || kind == "ermoe" || kind == "gmm" || kind == "phatgoose";
}

ExpertGates GatesOf(const LoraExpert& expert) {
  ExpertGates gates;
  for (const LoraBlock& block : expert.layers) {
    GateMatrices matrices;
    if (block.gate) matrices = {block.gate->a().value, block.gate->b().value, block.gate->scale()};
    gates.layers.push_back(std::move(matrices));
  }
  return gates;
}

StatusOr<RouterAssembly> CalibrateRouter(const CalibrationOptions& options, const CalibrationInput& input) {
  RETURN_IF_ERROR(CheckOptions(options, input));
  const ModelConfig& config = input.base->config;
  RouterManifest manifest;
  manifest.name = options.name;
  manifest.kind = options.kind;
  manifest.top_k = options.top_k;
  manifest.weight_mode = options.weight_mode;
  manifest.separable = true;
  manifest.derive = DirectionRuleName(RuleOf(options));
  manifest.base_generation = input.base->generation;
  manifest.num_layers = config.num_layers;
  manifest.hidden_size = config.hidden_size;
  for (const LoraExpert& expert : *input.experts) manifest.experts.push_back({expert.name, expert.generation, expert.is_zero});
  RouterAssembly router(std::move(manifest));
  RETURN_IF_ERROR(SetShared(options, input, &router));
  std::optional<int32_t> zero;
  for (size_t e = 0; e < input.experts->size(); ++e) {
    if ((*input.experts)[e].is_zero) {
      zero = static_cast<int32_t>(e);
    } else {
      RETURN_IF_ERROR(SetExpert(static_cast<int32_t>(e), options, input, &router));
    }
  }
  if (zero) RETURN_IF_ERROR(SetZeroScore(options, input, *zero, &router));
  if (input.states != nullptr) RETURN_IF_ERROR(router.SetProbes(input.states->layers, kPlain));
  return router;
}

StatusOr<RouterAssembly> AddExpert(const RouterArtifact& artifact, const BaseWeights& base, const LoraExpert& expert,
                                   const std::vector<at::Tensor>& gate, const HiddenStates* states, const CalibrationOptions& options) {
  const RouterManifest& old = artifact.manifest;
  if (old.base_generation != base.generation) {
    return FailedPrecondition("%s: router \"%s\" was made for base %s, this is base %s", artifact.directory, old.name, old.base_generation,
                              base.generation);
  }
  if (!old.separable || !CanCalibrate(old.kind)) {
    return Unimplemented("%s: a router of kind %s scores its experts together: train it again with the new one", artifact.directory,
                         old.kind);
  }
  for (const RouterExpertBinding& bound : old.experts) {
    if (bound.name == expert.name) return AlreadyExists("%s: router \"%s\" has an expert %s", artifact.directory, old.name, expert.name);
  }
  ASSIGN_OR_RETURN(const DirectionRule rule, ParseDirectionRule(old.derive));
  const bool goose = old.kind == "phatgoose", gmm = old.kind == "gmm";
  if (rule == DirectionRule::kNone && !goose && !gmm) {
    return Unimplemented("%s: the artifact does not say how its experts' tensors follow from their matrices (\"derive\")",
                         artifact.directory);
  }
  if (goose && gate.size() != static_cast<size_t>(old.num_layers))
    return InvalidArgument("phatgoose needs a gate of expert %s", expert.name);
  if (gmm && states == nullptr) return InvalidArgument("gmm is fitted to each expert's own data: no --data %s=PATH", expert.name);
  // The engine reads every tensor by name and shape; after it nothing is absent here.
  RETURN_IF_ERROR(LoadRouter(artifact, kPlain).status());
  ASSIGN_OR_RETURN(RouterAssembly router, RouterAssembly::From(artifact));
  router.manifest().experts.push_back({expert.name, expert.generation, false});
  router.manifest().load_shares.clear();  // were measured without it
  const auto e = static_cast<int32_t>(old.experts.size());
  if (goose) SetGates(e, gate, &router);
  if (gmm) RETURN_IF_ERROR(SetMixture(e, expert.name, states->layers, options.mixture, &router));
  if (!goose && !gmm) RETURN_IF_ERROR(SetDirections(e, expert, rule, &router));
  if (old.golden_probes == 0) return router;
  std::vector<at::Tensor> rows;
  for (int32_t l = 0; l < old.num_layers; ++l) {
    ASSIGN_OR_RETURN(const TensorView view, artifact.tensors->Get(absl::StrFormat("probe.layers.%d.x", l)));
    ASSIGN_OR_RETURN(rows.emplace_back(), TensorFromView(view, at::kFloat));
  }
  RETURN_IF_ERROR(router.SetProbes(rows, kPlain));
  return router;
}

}  // namespace switchyard::trainer
