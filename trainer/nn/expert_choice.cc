// Expert Choice (Zhou et al., 2202.09368): p = softmax(W x); while it trains each expert takes the rows it scores highest. Once calibrated,
// rows are routed by thresholds, as the engine does.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "trainer/nn/router_module.h"
#include "trainer/nn/tensor_views.h"

namespace switchyard::trainer {

namespace {

class ExpertChoice final : public RouterModule {
 public:
  ExpertChoice(const RouterOptions& options, std::vector<std::vector<Parameter>> layers)
      : RouterModule(options, static_cast<int32_t>(layers.size()), static_cast<int32_t>(layers.front()[0].value.size(0))),
        layers_(std::move(layers)),
        floor_(layers_.size()) {
    for (size_t l = 0; l < layers_.size(); ++l) {
      if (layers_[l].size() > 1) SetFloor(static_cast<int32_t>(l));
    }
  }

  std::vector<Parameter> LayerParameters(int32_t layer) const override { return {layers_[layer][0]}; }
  std::vector<TensorView> Tensors(int32_t layer) const override {
    std::vector<TensorView> views;
    for (const Parameter& parameter : layers_[layer]) views.push_back(ViewOf(parameter.name, parameter.value));
    return views;
  }
  bool calibrates() const override { return true; }
  // Half way from the score of each expert's c-th row to the next one's, c as in training: over these rows the thresholds choose what exact
  // Expert Choice does, and no row stands on a threshold, where rounding would decide.
  void Calibrate(int32_t layer, const at::Tensor& probabilities) override {
    at::Tensor threshold = at::ones({num_experts_}, at::kFloat);
    const int64_t rows = probabilities.size(0), each = RowsAnExpertTakes(options_.dispatch, rows, num_experts_);
    for (int32_t e = 0; e < num_experts_; ++e) {
      if (e == options_.dispatch.never) continue;
      const at::Tensor column = probabilities.select(1, e).to(at::kFloat).contiguous();
      std::vector<float> scores(column.const_data_ptr<float>(), column.const_data_ptr<float>() + rows);
      std::nth_element(scores.begin(), scores.begin() + (each - 1), scores.end(), std::greater<>());
      const float last = scores[each - 1];
      const float next = each < rows ? *std::max_element(scores.begin() + each, scores.end()) : last;
      const float middle = next + (last - next) / 2;
      threshold[e] = middle > next ? middle : last;
    }
    layers_[layer].resize(1);
    layers_[layer].push_back(MakeParameter(absl::StrFormat("layers.%d.router.threshold", layer), threshold, /*decay=*/false));
    SetFloor(layer);
  }

 protected:
  bool DispatchesAlways(int32_t layer) const override { return options_.exact || floor_[layer].empty(); }
  std::span<const float> SelectionFloor(int32_t layer) const override { return floor_[layer]; }
  at::Tensor Logits(int32_t layer, const RouterInput& in, at::Generator*) const override {
    return at::matmul(in.x, layers_[layer][0].value.t());
  }

 private:
  void SetFloor(int32_t layer) {
    const at::Tensor& threshold = layers_[layer][1].value;
    floor_[layer].assign(threshold.const_data_ptr<float>(), threshold.const_data_ptr<float>() + num_experts_);
    if (options_.dispatch.never >= 0) floor_[layer][options_.dispatch.never] = std::numeric_limits<float>::infinity();
  }

  std::vector<std::vector<Parameter>> layers_;  // [L]: W, and thresholds once calibrated
  std::vector<std::vector<float>> floor_;       // [L] of [E], empty before
};

}  // namespace

std::unique_ptr<RouterModule> MakeExpertChoice(const RouterOptions& options, std::vector<std::vector<Parameter>> layers) {
  return std::make_unique<ExpertChoice>(options, std::move(layers));
}

}  // namespace switchyard::trainer
