#include "trainer/nn/router_module.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/routing/selection.h"
#include "engine/tensor/compute.h"

namespace switchyard::trainer {

namespace {

WeightMode ModeOf(const std::string& gate) {
  if (gate == "sigmoid") return WeightMode::kSigmoid;
  return gate == "raw" ? WeightMode::kRaw : gate == "one" ? WeightMode::kOne : WeightMode::kRenorm;
}

// The selection as a [T, E] mask of ones.
at::Tensor MaskOf(const LayerRoutes& routes, int64_t experts) {
  at::Tensor mask = at::zeros({routes.rows, experts}, at::kFloat);
  float* m = mask.mutable_data_ptr<float>();
  for (int64_t i = 0; i < routes.rows * routes.k; ++i) {
    if (routes.experts[i] != LayerRoutes::kUnused) m[i / routes.k * experts + routes.experts[i]] = 1.0f;
  }
  return mask;
}

// The selected gates [T, E] as the routes' weights.
void KeepWeights(const at::Tensor& gates, LayerRoutes* routes) {
  const at::Tensor plain = gates.detach().contiguous();
  const float* row = plain.const_data_ptr<float>();
  for (int64_t i = 0; i < routes->rows * routes->k; ++i) {
    const int16_t expert = routes->experts[i];
    routes->weights[i] = expert == LayerRoutes::kUnused ? 0.0f : row[i / routes->k * plain.size(1) + expert];
  }
}

constexpr std::string_view kSelectionBias = ".selection_bias";

bool IsTrained(const std::string& kind) {
  return kind == "dense2moe_mlp" || kind == "linear" || kind == "expert_choice" || kind == "stablemoe" || kind == "lpr";
}

// Only W, [E, H].
bool IsOneMatrix(const std::string& kind) { return kind == "linear" || kind == "expert_choice" || kind == "stablemoe"; }

// What it trains of a layer, in the order of its parameters.
std::vector<std::string> NamesOf(const std::string& kind) {
  if (IsOneMatrix(kind)) return {"weight"};
  if (kind == "lpr") return {"norm.weight", "norm.bias", "mean.weight", "mean.bias", "log_variance.weight", "log_variance.bias", "keys"};
  return {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"};
}

// What follows from the kind.
RouterOptions Completed(RouterOptions options) {
  if (options.kind == "expert_choice" && options.dispatch.rule == "top-k") options.dispatch.rule = "expert-choice";
  return options;
}

Status CheckOptions(const RouterOptions& options, int32_t experts) {
  if (options.gate != "ste" && options.gate != "renorm" && options.gate != "raw" && options.gate != "sigmoid") {
    return InvalidArgument("router gate: expected ste, renorm, raw or sigmoid, found %s", options.gate);
  }
  if (options.gate == "sigmoid" && options.top_k != 1)
    return InvalidArgument("router gate sigmoid is for top_k 1, found top_k %d", options.top_k);
  if (options.kind == "stablemoe" && options.gate != "sigmoid")
    return InvalidArgument("router kind stablemoe has gate sigmoid, found %s", options.gate);
  if (options.kind == "stablemoe" &&
      (options.balance > 0 || options.score_variance > 0 || options.label_loss > 0 || options.dispatch.rule != "top-k"))
    return InvalidArgument(
        "router kind stablemoe: its routes are frozen: no --balance, no --score-variance, no --label-loss, no --dispatch");
  if (options.roma > 0 && options.kind == "stablemoe") return InvalidArgument("router kind stablemoe: its routes are frozen: no --roma");
  if (options.loss_free > 0 && options.kind != "linear")
    return InvalidArgument("loss-free balancing is of router kind linear, found %s", options.kind);
  if (options.loss_free > 0 && options.load_target.size() != static_cast<size_t>(experts)) {
    return InvalidArgument("loss-free balancing: a target of %d experts, expected %d", options.load_target.size(), experts);
  }
  if (options.top_k < 1 || options.top_k > experts)
    return InvalidArgument("router top_k: expected 1 to %d (the experts), found %d", experts, options.top_k);
  if (options.gate == "ste" && options.top_k != 1) {
    return InvalidArgument("router gate ste is for top_k 1, found top_k %d: use renorm or raw", options.top_k);
  }
  RETURN_IF_ERROR(CheckDispatch(options.dispatch));
  if ((options.kind == "expert_choice") != (options.dispatch.rule == "expert-choice"))
    return InvalidArgument("router kind %s and dispatch %s: expert-choice is of the kind expert_choice", options.kind,
                           options.dispatch.rule);
  if (options.kind == "expert_choice" && options.gate != "raw")
    return InvalidArgument("router kind expert_choice has gate raw, found %s", options.gate);
  const LatentOptions& latent = options.latent;
  if (latent.dimension < 1 || latent.loss < 0 || latent.diversity < 0 || latent.kl < 0 || latent.align < 0 ||
      !(latent.decay >= 0 && latent.decay <= 1)) {
    return InvalidArgument(
        "--latent-*: expected at least 1 dimension, coefficients from 0 on and a decay from 0 to 1; found %d, %g, %g, %g, %g, %g",
        latent.dimension, latent.loss, latent.diversity, latent.kl, latent.align, latent.decay);
  }
  if (options.exact && options.kind != "expert_choice")
    return InvalidArgument("exact is of router kind expert_choice, found %s", options.kind);
  if (!(options.second_weight >= 1) || options.second_weight_steps < 1)
    return InvalidArgument("--second-weight: expected at least 1, over at least one step, found %g over %d", options.second_weight,
                           options.second_weight_steps);
  // Divided by itself a single probability is 1 whatever the router says: it would learn nothing.
  if (options.gate == "renorm" && options.top_k == 1)
    return InvalidArgument("router gate renorm with top_k 1 has no gradient: use ste or raw");
  return OkStatus();
}

std::vector<Parameter> LinearParameters(const std::string& name, int64_t in, int64_t out, at::Generator& generator) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(in));
  return {MakeParameter(name + ".weight", at::empty({out, in}, at::kFloat).uniform_(-bound, bound, generator), true),
          MakeParameter(name + ".bias", at::empty({out}, at::kFloat).uniform_(-bound, bound, generator), false)};
}

// Of kind lpr: keys are directions, the norm begins as none.
std::vector<Parameter> LatentParameters(const std::string& name, int64_t hidden, int64_t width, int64_t experts, at::Generator& generator) {
  std::vector<Parameter> all = {MakeParameter(name + ".norm.weight", at::ones({hidden}, at::kFloat), false),
                                MakeParameter(name + ".norm.bias", at::zeros({hidden}, at::kFloat), false)};
  for (const char* part : {".mean", ".log_variance"}) {
    for (Parameter& parameter : LinearParameters(name + part, hidden, width, generator)) all.push_back(std::move(parameter));
  }
  const at::Tensor keys = at::empty({experts, width}, at::kFloat).normal_(0, 1, generator);
  all.push_back(MakeParameter(name + ".keys", keys / keys.norm(2, 1, /*keepdim=*/true), true));
  return all;
}

Parameter SelectionBiasOf(int32_t layer, const at::Tensor& value) {
  return MakeParameter(absl::StrFormat("layers.%d.router%s", layer, kSelectionBias), value, /*decay=*/false);
}

// [L] of [V] I32.
StatusOr<std::vector<at::Tensor>> ReadTables(const RouterArtifact& artifact) {
  const auto experts = static_cast<int32_t>(artifact.manifest.experts.size());
  std::vector<at::Tensor> tables;
  for (int32_t l = 0; l < artifact.manifest.num_layers; ++l) {
    const std::string name = absl::StrFormat("layers.%d.router.table", l);
    ASSIGN_OR_RETURN(const TensorView view, artifact.tensors->Get(name));
    if (view.dtype != DType::kI32)
      return InvalidArgument("%s: tensor %s: expected I32, found %s", artifact.directory, name, DTypeName(view.dtype));
    ASSIGN_OR_RETURN(at::Tensor table, TensorFromView(view, at::kInt));
    if (table.lt(0).any().item<bool>() || table.ge(experts).any().item<bool>())
      return InvalidArgument("%s: tensor %s: expected experts 0 to %d", artifact.directory, name, experts - 1);
    tables.push_back(std::move(table));
  }
  return tables;
}

std::unique_ptr<RouterModule> Make(const RouterOptions& options, std::vector<std::vector<Parameter>> layers) {
  for (std::vector<Parameter>& layer : layers) {
    for (Parameter& parameter : layer)
      parameter.value.requires_grad_(!parameter.name.ends_with(kSelectionBias) && !parameter.name.ends_with(".threshold"));
  }
  if (options.kind == "expert_choice") return MakeExpertChoice(options, std::move(layers));
  if (options.kind == "lpr") return MakeLatentPrototype(options, std::move(layers));
  return options.kind == "linear" ? MakeLinear(options, std::move(layers)) : MakeDense2MoeMlp(options, std::move(layers));
}

}  // namespace

std::vector<Parameter> RouterModule::Parameters() const {
  std::vector<Parameter> all;
  for (int32_t l = 0; l < num_layers_; ++l) {
    for (Parameter& parameter : LayerParameters(l)) all.push_back(std::move(parameter));
    for (Parameter& parameter : LayerState(l)) all.push_back(std::move(parameter));
  }
  return all;
}

void RouterOutput::Add(LossPart part, const at::Tensor& value) {
  loss = loss.defined() ? loss + value : value;
  parts[part] += value.item<double>();
}

at::Tensor RouterModule::SlotScale(const LayerRoutes& routes) const {
  const double done = std::min(1.0, static_cast<double>(step_) / static_cast<double>(options_.second_weight_steps));
  const auto later = static_cast<float>(options_.second_weight + done * (1 - options_.second_weight));
  at::Tensor scale = at::ones({routes.rows, num_experts_}, at::kFloat);
  float* row = scale.mutable_data_ptr<float>();
  for (int64_t i = 0; i < routes.rows * routes.k; ++i) {
    if (i % routes.k > 0 && routes.experts[i] != LayerRoutes::kUnused) row[i / routes.k * num_experts_ + routes.experts[i]] = later;
  }
  return scale;
}

at::Tensor RouterModule::Pull(int32_t layer, const at::Tensor& p, const RouteNeighbours& neighbours) const {
  if (options_.roma <= 0 || neighbours.rows.empty() || !neighbours.routes[layer].defined()) return {};
  const at::Tensor own = p.index_select(0, at::tensor(neighbours.rows, at::kLong)).unsqueeze(1);  // [n, 1, E]
  const at::Tensor distance = (own - neighbours.routes[layer]).square().sum(-1);                  // [n, N]
  const double warm =
      options_.roma_warmup_steps < 1 ? 1 : std::min(1.0, static_cast<double>(step_ + 1) / static_cast<double>(options_.roma_warmup_steps));
  return options_.roma * warm * (neighbours.weights * distance).sum(-1).mean();
}

StatusOr<RouterOutput> RouterModule::Forward(int32_t layer, const RouterInput& in, at::Generator* generator,
                                             const RowTargets& targets) const {
  const at::Tensor& x = in.x;
  at::Tensor input = x;
  if (generator != nullptr && options_.jitter > 0) {
    input = x * at::empty_like(x).uniform_(1.0 - options_.jitter, 1.0 + options_.jitter, *generator);
  }
  const at::Tensor logits = Logits(layer, {input, in.tokens}, generator);
  const at::Tensor p = at::softmax(logits, -1);
  RouterOutput out;
  out.probabilities = p.detach();
  const int64_t rows = x.size(0), experts = num_experts_;
  const SelectionRule rule{options_.top_k, ModeOf(options_.gate), false};
  const bool dispatched = options_.dispatch.rule != "top-k" && (generator != nullptr || DispatchesAlways(layer));
  out.routes.Resize(rows, dispatched ? SlotsOf(options_.dispatch, options_.top_k, num_experts_) : options_.top_k);
  const at::Tensor plain = logits.detach().contiguous();
  const float* next = plain.const_data_ptr<float>();
  for (int64_t row = 0; row < rows; ++row, next += experts) {
    const Status selected =
        SelectRow({next, static_cast<size_t>(experts)}, rule, {}, row, &out.routes, SelectionBias(layer), SelectionFloor(layer));
    if (!selected.ok()) return Annotate(selected, absl::StrFormat("router of layer %d, row %d", layer, row));
  }
  if (dispatched) {
    const at::Tensor scores = out.probabilities.contiguous();
    Dispatch(options_.dispatch, {scores.const_data_ptr<float>(), static_cast<size_t>(scores.numel())}, num_experts_, &out.routes);
  }
  const at::Tensor mask = MaskOf(out.routes, experts);
  at::Tensor weights;  // what the balance loss calls the router's share
  if (options_.gate == "ste") {
    out.gates = mask + (p - p.detach());
    out.dense_gradient = true;
    weights = p;
  } else if (options_.gate == "renorm") {
    const at::Tensor selected = p * mask;
    out.gates = weights = selected / selected.sum(-1, /*keepdim=*/true).clamp_min(1e-8);
  } else if (options_.gate == "sigmoid") {
    out.gates = at::sigmoid(logits) * mask;
  } else {
    out.gates = p * mask;
    weights = p;
  }
  if (dispatched) {
    if (IsMaxScore(options_.dispatch) && options_.second_weight > 1) out.gates = out.gates * SlotScale(out.routes);
    KeepWeights(out.gates, &out.routes);
  }
  if (options_.balance > 0 && options_.gate == "sigmoid") {
    const at::Tensor chosen = mask.mean(0);
    out.Add(kBalanceLoss, options_.balance * ((chosen / chosen.mean() - 1) * out.gates.mean(0)).sum());
  } else if (options_.balance > 0) {
    out.Add(kBalanceLoss, options_.balance * static_cast<double>(experts) * (mask.mean(0) * weights.mean(0)).sum());
  }
  if (options_.score_variance > 0) {
    const at::Tensor scores = weights.defined() ? weights : out.gates;
    out.Add(kScoreVarianceLoss, -options_.score_variance * (scores - scores.mean(0, /*keepdim=*/true)).square().mean());
  }
  if (options_.z_loss > 0) out.Add(kZLoss, options_.z_loss * at::logsumexp(logits, -1).square().mean());
  if (const at::Tensor pull = Pull(layer, p, targets.neighbours); pull.defined()) out.Add(kRomaLoss, pull);
  if (options_.label_loss > 0 && !targets.labels.empty()) {
    const at::Tensor wanted = at::tensor(targets.labels, at::kLong);
    if (wanted.ge(0).any().item<bool>())
      out.Add(kLabelLoss, options_.label_loss * at::cross_entropy_loss(logits, wanted, {}, at::Reduction::Mean, /*ignore_index=*/-1));
  }
  return out;
}

StatusOr<std::unique_ptr<RouterModule>> NewRouter(const RouterOptions& given, int32_t layers, int32_t hidden, int32_t experts,
                                                  uint64_t seed) {
  if (given.kind == "stablemoe") return InvalidArgument("router kind stablemoe goes on from a linear router of gate sigmoid: --init");
  if (!IsTrained(given.kind))
    return InvalidArgument("router kind: expected dense2moe_mlp, linear, expert_choice or lpr, found %s", given.kind);
  const RouterOptions options = Completed(given);
  RETURN_IF_ERROR(CheckOptions(options, experts));
  at::Generator generator = at::detail::createCPUGenerator(seed);
  std::vector<std::vector<Parameter>> parameters;
  for (int32_t l = 0; l < layers; ++l) {
    const std::string name = absl::StrFormat("layers.%d.router", l);
    if (IsOneMatrix(options.kind)) {
      parameters.push_back({LinearParameters(name, hidden, experts, generator)[0]});
      if (options.loss_free > 0) parameters.back().push_back(SelectionBiasOf(l, at::zeros({experts}, at::kFloat)));
      continue;
    }
    if (options.kind == "lpr") {
      parameters.push_back(LatentParameters(name, hidden, options.latent.dimension, experts, generator));
      continue;
    }
    std::vector<Parameter> both = LinearParameters(name + ".fc1", hidden, hidden / 2, generator);
    for (Parameter& parameter : LinearParameters(name + ".fc2", hidden / 2, experts, generator)) both.push_back(std::move(parameter));
    parameters.push_back(std::move(both));
  }
  return Make(options, std::move(parameters));
}

StatusOr<std::unique_ptr<RouterModule>> ReadRouter(const RouterArtifact& artifact, const RouterOptions& options) {
  RouterOptions own = options;
  own.kind = artifact.manifest.kind;
  for (size_t e = 0; e < artifact.manifest.experts.size(); ++e) {
    if (artifact.manifest.experts[e].is_zero) own.dispatch.never = static_cast<int32_t>(e);
  }
  own = Completed(own);
  RETURN_IF_ERROR(CheckOptions(own, static_cast<int32_t>(artifact.manifest.experts.size())));
  if (!IsTrained(own.kind)) return MakeServed(artifact, own);
  std::vector<std::vector<Parameter>> parameters;
  for (int32_t l = 0; l < artifact.manifest.num_layers; ++l) {
    std::vector<Parameter> layer;
    for (const std::string& name : NamesOf(own.kind)) {
      const std::string full = absl::StrFormat("layers.%d.router.%s", l, name);
      ASSIGN_OR_RETURN(const TensorView view, artifact.tensors->Get(full));
      ASSIGN_OR_RETURN(const at::Tensor value, TensorFromView(view, at::kFloat));
      layer.push_back(MakeParameter(full, value, value.dim() == 2));
    }
    const std::string bias = absl::StrFormat("layers.%d.router%s", l, kSelectionBias);
    if (own.kind == "linear" && artifact.tensors->tensors().contains(bias)) {
      ASSIGN_OR_RETURN(const TensorView view, artifact.tensors->Get(bias));
      ASSIGN_OR_RETURN(const at::Tensor value, TensorFromView(view, at::kFloat));
      layer.push_back(SelectionBiasOf(l, value));
    } else if (own.loss_free > 0) {
      layer.push_back(SelectionBiasOf(l, at::zeros({static_cast<int64_t>(artifact.manifest.experts.size())}, at::kFloat)));
    }
    const std::string threshold = absl::StrFormat("layers.%d.router.threshold", l);
    if (own.kind == "expert_choice" && artifact.tensors->tensors().contains(threshold)) {
      ASSIGN_OR_RETURN(const TensorView view, artifact.tensors->Get(threshold));
      ASSIGN_OR_RETURN(const at::Tensor value, TensorFromView(view, at::kFloat));
      layer.push_back(MakeParameter(threshold, value, /*decay=*/false));
    }
    parameters.push_back(std::move(layer));
  }
  if (own.kind != "stablemoe") return Make(own, std::move(parameters));
  ASSIGN_OR_RETURN(std::vector<at::Tensor> tables, ReadTables(artifact));
  for (std::vector<Parameter>& layer : parameters) layer[0].value.requires_grad_(true);
  return MakeStableMoe(own, std::move(parameters), std::move(tables));
}

StatusOr<std::unique_ptr<RouterModule>> StableMoeFrom(const RouterArtifact& first, const RouterOptions& options,
                                                      const std::vector<std::vector<int32_t>>& tables) {
  if (first.manifest.kind != "linear" || first.manifest.weight_mode != "sigmoid") {
    return InvalidArgument("%s: stablemoe goes on from a linear router of weight_mode sigmoid, found %s of %s", first.directory,
                           first.manifest.kind, first.manifest.weight_mode);
  }
  RouterOptions own = options;
  own.kind = "stablemoe";
  RETURN_IF_ERROR(CheckOptions(own, static_cast<int32_t>(first.manifest.experts.size())));
  std::vector<std::vector<Parameter>> layers;
  std::vector<at::Tensor> owned;
  for (int32_t l = 0; l < first.manifest.num_layers; ++l) {
    const std::string name = absl::StrFormat("layers.%d.router.weight", l);
    ASSIGN_OR_RETURN(const TensorView view, first.tensors->Get(name));
    ASSIGN_OR_RETURN(const at::Tensor value, TensorFromView(view, at::kFloat));
    layers.push_back({MakeParameter(name, value, /*decay=*/true)});
    layers.back()[0].value.requires_grad_(true);
    owned.push_back(at::tensor(tables[l], at::kInt));
  }
  return MakeStableMoe(own, std::move(layers), std::move(owned));
}

}  // namespace switchyard::trainer
