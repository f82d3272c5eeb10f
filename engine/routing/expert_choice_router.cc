#include "engine/routing/expert_choice_router.h"

#include <ATen/ATen.h>

#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "engine/routing/router_tensors.h"
#include "engine/tensor/linear.h"

namespace switchyard {

namespace {

class ExpertChoiceRouter final : public Router {
 public:
  // floor: [L] of [E].
  ExpertChoiceRouter(const SelectionRule& rule, std::vector<Linear> layers, std::vector<std::vector<float>> floor)
      : layers_(std::move(layers)), floor_(std::move(floor)) {
    rule_ = rule;
  }

  at::Tensor Logits(int32_t layer, const RouterInput& in) const override { return layers_[layer].Forward(in.x.to(at::kFloat)); }
  std::span<const float> SelectionFloor(int32_t layer) const override { return floor_[layer]; }
  int32_t num_experts() const override { return static_cast<int32_t>(layers_.front().out_features()); }
  int32_t num_layers() const override { return static_cast<int32_t>(layers_.size()); }
  int64_t bytes() const override {
    int64_t total = 0;
    for (const Linear& layer : layers_) total += layer.bytes();
    return total;
  }

 private:
  const std::vector<Linear> layers_;
  const std::vector<std::vector<float>> floor_;
};

}  // namespace

StatusOr<std::unique_ptr<Router>> LoadExpertChoiceRouter(const RouterArtifact& artifact, const SelectionRule& rule,
                                                         const Compute& compute) {
  const std::vector<RouterExpertBinding>& bound = artifact.manifest.experts;
  const int64_t experts = static_cast<int64_t>(bound.size()), hidden = artifact.manifest.hidden_size;
  RouterTensors tensors(artifact);
  std::vector<Linear> layers;
  std::vector<std::vector<float>> floor;
  for (int32_t l = 0; l < artifact.manifest.num_layers; ++l) {
    ASSIGN_OR_RETURN(const at::Tensor weight, tensors.Get(l, "weight", {experts, hidden}, at::kFloat));
    if (!tensors.Has(l, "threshold")) {
      return Unimplemented(
          "%s: layer %d: no threshold: exact Expert Choice, in which experts choose among all tokens of a batch, later ones included, is "
          "for "
          "analysis only (switchyard-trainer evaluate --exact); switchyard-trainer router --kind expert_choice publishes thresholds, which "
          "serve",
          artifact.directory, l);
    }
    ASSIGN_OR_RETURN(const at::Tensor threshold, tensors.Get(l, "threshold", {experts}, at::kFloat));
    layers.emplace_back(compute, weight, std::nullopt, at::kFloat);
    std::vector<float>& own = floor.emplace_back(threshold.const_data_ptr<float>(), threshold.const_data_ptr<float>() + experts);
    for (int64_t e = 0; e < experts; ++e) {
      if (bound[e].is_zero) own[e] = std::numeric_limits<float>::infinity();
    }
  }
  RETURN_IF_ERROR(tensors.CheckAllRead());
  return std::make_unique<ExpertChoiceRouter>(rule, std::move(layers), std::move(floor));
}

}  // namespace switchyard
