// logits = W x in f32 (methods.md 3.1); with a selection bias Loss-Free Balancing (Wang et al., 2408.15664, with a softmax gate and updates
// by sign).
#include <ATen/ATen.h>

#include <numeric>

#include "trainer/nn/router_module.h"
#include "trainer/nn/tensor_views.h"

namespace switchyard::trainer {

namespace {

class LinearRouter final : public RouterModule {
 public:
  LinearRouter(const RouterOptions& options, std::vector<std::vector<Parameter>> layers)
      : RouterModule(options, static_cast<int32_t>(layers.size()), static_cast<int32_t>(layers.front()[0].value.size(0))),
        layers_(std::move(layers)) {}

  std::vector<Parameter> LayerParameters(int32_t layer) const override { return {layers_[layer][0]}; }
  std::vector<Parameter> LayerState(int32_t layer) const override { return {layers_[layer].begin() + 1, layers_[layer].end()}; }
  std::vector<TensorView> Tensors(int32_t layer) const override {
    std::vector<TensorView> views;
    for (const Parameter& parameter : layers_[layer]) views.push_back(ViewOf(parameter.name, parameter.value));
    return views;
  }

  // Who got fewer slots than its share is chosen more easily from now on.
  void AfterStep(std::span<const double> expert_rows) const override {
    if (options_.loss_free == 0) return;
    const auto experts = static_cast<size_t>(num_experts_);
    for (size_t l = 0; l < layers_.size(); ++l) {
      const std::span<const double> rows = expert_rows.subspan(l * experts, experts);
      const double slots = std::accumulate(rows.begin(), rows.end(), 0.0);
      at::Tensor value = layers_[l][1].value;
      float* bias = value.mutable_data_ptr<float>();
      for (size_t e = 0; e < experts; ++e) {
        if (options_.load_target[e] < 0) continue;
        const double missing = slots * options_.load_target[e] - rows[e];
        bias[e] += static_cast<float>(options_.loss_free * ((missing > 0) - (missing < 0)));
      }
    }
  }

 protected:
  std::span<const float> SelectionBias(int32_t layer) const override {
    if (layers_[layer].size() < 2) return {};
    return {layers_[layer][1].value.const_data_ptr<float>(), static_cast<size_t>(num_experts_)};
  }
  at::Tensor Logits(int32_t layer, const RouterInput& in, at::Generator*) const override {
    return at::matmul(in.x, layers_[layer][0].value.t());
  }

 private:
  const std::vector<std::vector<Parameter>> layers_;  // [L]: W, and a selection bias or not
};

}  // namespace

std::unique_ptr<RouterModule> MakeLinear(const RouterOptions& options, std::vector<std::vector<Parameter>> layers) {
  return std::make_unique<LinearRouter>(options, std::move(layers));
}

}  // namespace switchyard::trainer
