// logits = W x in f32 (methods.md 3.1).
#include <ATen/ATen.h>

#include "trainer/nn/router_module.h"
#include "trainer/nn/tensor_views.h"

namespace switchyard::trainer {

namespace {

class LinearRouter final : public RouterModule {
 public:
  LinearRouter(const RouterOptions& options, std::vector<std::vector<Parameter>> layers)
      : RouterModule(options, static_cast<int32_t>(layers.size()), static_cast<int32_t>(layers.front()[0].value.size(0))), layers_(std::move(layers)) {}

  std::vector<Parameter> LayerParameters(int32_t layer) const override { return layers_[layer]; }
  std::vector<TensorView> Tensors(int32_t layer) const override { return {ViewOf(layers_[layer][0].name, layers_[layer][0].value)}; }

 protected:
  at::Tensor Logits(int32_t layer, const at::Tensor& x, at::Generator*) const override { return at::matmul(x, layers_[layer][0].value.t()); }

 private:
  const std::vector<std::vector<Parameter>> layers_;  // [L]: W
};

}  // namespace

std::unique_ptr<RouterModule> MakeLinear(const RouterOptions& options, std::vector<std::vector<Parameter>> layers) {
  return std::make_unique<LinearRouter>(options, std::move(layers));
}

}  // namespace switchyard::trainer
