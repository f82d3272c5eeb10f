#include "engine/routing/subspace_router.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace switchyard {

namespace {

StatusOr<SubspaceLayer> LoadLayer(const RouterArtifact& artifact, int32_t layer, int64_t max_rank, bool derives, const Compute& compute,
                                  RouterTensors* tensors) {
  ASSIGN_OR_RETURN(SubspaceNorms norms, SubspaceNorms::Load(artifact, layer, max_rank, compute, tensors));
  SubspaceLayer out{std::move(norms)};
  if (derives && tensors->Has(layer, "temperature")) {
    ASSIGN_OR_RETURN(const at::Tensor temperature, tensors->Get(layer, "temperature", {1}, at::kFloat));
    out.temperature = temperature.item<float>();
    if (!(out.temperature > 0)) {
      return InvalidArgument("%s: tensor layers.%d.router.temperature: expected a value above 0, found %g", artifact.directory, layer,
                             out.temperature);
    }
  }
  if (derives && tensors->Has(layer, "sample")) {
    ASSIGN_OR_RETURN(out.sample, tensors->Get(layer, "sample", {-1, artifact.manifest.hidden_size}, at::kFloat));
  }
  return out;
}

}  // namespace

int64_t SubspaceRouter::bytes() const {
  int64_t total = 0;
  for (const SubspaceLayer& layer : layers_) {
    total += layer.norms.bytes() + (layer.sample.defined() ? static_cast<int64_t>(layer.sample.nbytes()) : 0);
  }
  return total;
}

StatusOr<std::unique_ptr<Router>> SubspaceRouter::Derive(const std::vector<ExpertGates>& experts) const {
  if (!derives()) return Router::Derive(experts);
  std::vector<SubspaceLayer> layers;
  for (size_t l = 0; l < layers_.size(); ++l) {
    std::vector<at::Tensor> directions;
    for (const ExpertGates& expert : experts) {
      if (expert.layers.size() != layers_.size())
        return Internal("an expert of %d layers, the router has %d", expert.layers.size(), layers_.size());
      const at::Tensor own = DirectionsOf(derivation_.rule, expert.layers[l], layers_[l].norms.hidden());
      directions.push_back(Calibrated(own, layers_[l].temperature, layers_[l].sample));
    }
    layers.push_back({SubspaceNorms(*derivation_.compute, directions, 0.0f)});
  }
  return Alike(std::move(layers));
}

StatusOr<SubspaceParameters> LoadSubspaces(const RouterArtifact& artifact, int64_t max_rank, std::initializer_list<DirectionRule> rules,
                                           const Compute& compute) {
  SubspaceParameters parameters;
  parameters.derivation.compute = &compute;
  const auto rule = ParseDirectionRule(artifact.manifest.derive);
  if (!rule.ok()) return Annotate(rule.status(), artifact.directory);
  if (*rule != DirectionRule::kNone && std::find(rules.begin(), rules.end(), *rule) == rules.end()) {
    return InvalidArgument("%s: derive \"%s\" is no rule of router kind \"%s\"", artifact.directory, artifact.manifest.derive,
                           artifact.manifest.kind);
  }
  parameters.derivation.rule = *rule;
  RouterTensors tensors(artifact);
  for (int32_t l = 0; l < artifact.manifest.num_layers; ++l) {
    ASSIGN_OR_RETURN(SubspaceLayer layer, LoadLayer(artifact, l, max_rank, *rule != DirectionRule::kNone, compute, &tensors));
    parameters.layers.push_back(std::move(layer));
  }
  RETURN_IF_ERROR(tensors.CheckAllRead());
  return parameters;
}

}  // namespace switchyard
