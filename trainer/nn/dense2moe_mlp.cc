// logits = W2 drop(relu(W1 x + b1)) + b2 (methods.md 1.1).
#include <ATen/ATen.h>

#include "trainer/nn/router_mlp.h"
#include "trainer/nn/router_module.h"
#include "trainer/nn/tensor_views.h"

namespace switchyard::trainer {

namespace {

class Dense2MoeMlp final : public RouterModule {
 public:
  Dense2MoeMlp(const RouterOptions& options, std::vector<std::vector<Parameter>> layers)
      : RouterModule(options, static_cast<int32_t>(layers.size()), static_cast<int32_t>(layers.front()[3].value.size(0))),
        layers_(std::move(layers)) {}

  std::vector<Parameter> LayerParameters(int32_t layer) const override { return layers_[layer]; }

  // W1 is stored as it was computed with: the server then keeps it in 16 bits.
  std::vector<TensorView> Tensors(int32_t layer) const override {
    std::vector<TensorView> views;
    for (size_t i = 0; i < layers_[layer].size(); ++i) {
      const Parameter& parameter = layers_[layer][i];
      views.push_back(ViewOf(parameter.name, i == 0 ? parameter.value.to(options_.compute) : parameter.value));
    }
    return views;
  }

 protected:
  at::Tensor Logits(int32_t layer, const RouterInput& in, at::Generator* generator) const override {
    const std::vector<Parameter>& p = layers_[layer];
    return RouterMlp(in.x, {p[0].value, p[1].value, p[2].value, p[3].value}, options_.dropout, generator, options_.compute);
  }

 private:
  const std::vector<std::vector<Parameter>> layers_;  // [L]: W1, b1, W2, b2
};

}  // namespace

std::unique_ptr<RouterModule> MakeDense2MoeMlp(const RouterOptions& options, std::vector<std::vector<Parameter>> layers) {
  return std::make_unique<Dense2MoeMlp>(options, std::move(layers));
}

}  // namespace switchyard::trainer
