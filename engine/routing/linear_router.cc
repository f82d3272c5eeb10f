#include "engine/routing/linear_router.h"

#include <ATen/ATen.h>

#include <utility>
#include <vector>

#include "engine/routing/router_tensors.h"
#include "engine/tensor/linear.h"

namespace switchyard {

namespace {

class LinearRouter final : public Router {
 public:
  // bias: [L] of [E] or empty.
  LinearRouter(const SelectionRule& rule, std::vector<Linear> layers, std::vector<std::vector<float>> bias)
      : layers_(std::move(layers)), selection_bias_(std::move(bias)) {
    rule_ = rule;
  }

  at::Tensor Logits(int32_t layer, const RouterInput& in) const override { return layers_[layer].Forward(in.x.to(at::kFloat)); }
  std::span<const float> SelectionBias(int32_t layer) const override { return selection_bias_[layer]; }
  int32_t num_experts() const override { return static_cast<int32_t>(layers_.front().out_features()); }
  int32_t num_layers() const override { return static_cast<int32_t>(layers_.size()); }
  int64_t bytes() const override {
    int64_t total = 0;
    for (const Linear& layer : layers_) total += layer.bytes();
    return total;
  }

 private:
  std::vector<Linear> layers_;
  std::vector<std::vector<float>> selection_bias_;  // [L]
};

}  // namespace

StatusOr<std::unique_ptr<Router>> LoadLinearRouter(const RouterArtifact& artifact, const SelectionRule& rule, const Compute& compute) {
  const int64_t experts = static_cast<int64_t>(artifact.manifest.experts.size()), hidden = artifact.manifest.hidden_size;
  RouterTensors tensors(artifact);
  std::vector<Linear> layers;
  std::vector<std::vector<float>> selection_bias;
  for (int32_t l = 0; l < artifact.manifest.num_layers; ++l) {
    ASSIGN_OR_RETURN(const at::Tensor weight, tensors.Get(l, "weight", {experts, hidden}, at::kFloat));
    std::optional<at::Tensor> bias;
    if (tensors.Has(l, "bias")) {
      ASSIGN_OR_RETURN(bias, tensors.Get(l, "bias", {experts}, at::kFloat));
    }
    layers.emplace_back(compute, weight, bias, at::kFloat);
    selection_bias.emplace_back();
    if (!tensors.Has(l, "selection_bias")) continue;
    ASSIGN_OR_RETURN(const at::Tensor chosen_by, tensors.Get(l, "selection_bias", {experts}, at::kFloat));
    selection_bias.back().assign(chosen_by.const_data_ptr<float>(), chosen_by.const_data_ptr<float>() + experts);
  }
  RETURN_IF_ERROR(tensors.CheckAllRead());
  return std::make_unique<LinearRouter>(rule, std::move(layers), std::move(selection_bias));
}

}  // namespace switchyard
