#include "trainer/nn/sigmoid_gate.h"

#include <ATen/ATen.h>

#include <utility>

namespace switchyard::trainer {

namespace {

class SigmoidGate final : public RouterModule {
 public:
  SigmoidGate(int32_t layers, int32_t hidden, int32_t experts, int32_t expert)
      : RouterModule(RouterOptions{.kind = "phatgoose", .gate = "raw"}, layers, experts), expert_(expert) {
    for (int32_t l = 0; l < layers; ++l) {
      vectors_.push_back(
          MakeParameter(absl::StrFormat("layers.%d.router.gate.%d", l, expert), at::zeros({1, hidden}, at::kFloat), /*decay=*/true));
      vectors_.back().value.requires_grad_(true);
    }
  }

  std::vector<Parameter> LayerParameters(int32_t layer) const override { return {vectors_[layer]}; }
  std::vector<TensorView> Tensors(int32_t) const override {
    return {};
  }  // no router by itself: calibration puts the gates of all experts together

  StatusOr<RouterOutput> Forward(int32_t layer, const RouterInput& in, at::Generator* generator, const RowTargets&) const override {
    const at::Tensor strength = at::sigmoid(Logits(layer, in, generator));  // [T, 1]
    if (!strength.isfinite().all().item<bool>()) return Internal("gate of layer %d: a value is not finite", layer);
    const int64_t rows = in.x.size(0);
    RouterOutput out;
    out.gates = at::cat({at::zeros({rows, expert_}), strength, at::zeros({rows, num_experts_ - expert_ - 1})}, 1);
    out.probabilities = out.gates.detach();
    out.routes.Resize(rows, 1);
    const at::Tensor plain = strength.detach().contiguous();
    for (int64_t row = 0; row < rows; ++row) {
      out.routes.experts[row] = static_cast<int16_t>(expert_);
      out.routes.weights[row] = plain.const_data_ptr<float>()[row];
    }
    return out;
  }

 protected:
  at::Tensor Logits(int32_t layer, const RouterInput& in, at::Generator*) const override {
    return at::matmul(in.x, vectors_[layer].value.t());
  }

 private:
  const int32_t expert_;
  std::vector<Parameter> vectors_;
};

}  // namespace

std::unique_ptr<RouterModule> MakeSigmoidGate(int32_t layers, int32_t hidden, int32_t experts, int32_t expert) {
  return std::make_unique<SigmoidGate>(layers, hidden, experts, expert);
}

}  // namespace switchyard::trainer
