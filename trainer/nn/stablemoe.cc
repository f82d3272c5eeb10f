// StableMoE's second stage (Dai et al., 2204.08396): which expert a token goes to is frozen in a table; how strongly it speaks, the sigmoid
// of its affinity (W x)_e, is trained.
#include <ATen/ATen.h>

#include <limits>

#include "trainer/nn/router_module.h"
#include "trainer/nn/tensor_views.h"

namespace switchyard::trainer {

namespace {

class StableMoe final : public RouterModule {
 public:
  StableMoe(const RouterOptions& options, std::vector<std::vector<Parameter>> layers, std::vector<at::Tensor> tables)
      : RouterModule(options, static_cast<int32_t>(layers.size()), static_cast<int32_t>(layers.front()[0].value.size(0))),
        layers_(std::move(layers)),
        tables_(std::move(tables)) {}

  std::vector<Parameter> LayerParameters(int32_t layer) const override { return layers_[layer]; }
  std::vector<TensorView> Tensors(int32_t layer) const override {
    return {ViewOf(layers_[layer][0].name, layers_[layer][0].value),
            ViewOf(absl::StrFormat("layers.%d.router.table", layer), tables_[layer])};
  }
  bool looks_at_tokens() const override { return true; }

 protected:
  // NaN, which selection refuses, where a row has no id of the table.
  at::Tensor Logits(int32_t layer, const RouterInput& in, at::Generator*) const override {
    const at::Tensor affinity = at::matmul(in.x, layers_[layer][0].value.t());
    at::Tensor others = at::full({in.x.size(0), num_experts_}, -std::numeric_limits<float>::infinity(), at::kFloat);
    at::Tensor own = at::zeros({in.x.size(0), num_experts_}, at::kBool);
    const int32_t* table = tables_[layer].const_data_ptr<int32_t>();
    for (int64_t row = 0; row < in.x.size(0); ++row) {
      const int64_t token = row < static_cast<int64_t>(in.tokens.size()) ? in.tokens[row] : -1;
      if (token < 0 || token >= tables_[layer].size(0)) {
        others.mutable_data_ptr<float>()[row * num_experts_] = std::numeric_limits<float>::quiet_NaN();
      } else {
        own.mutable_data_ptr<bool>()[row * num_experts_ + table[token]] = true;
      }
    }
    return at::where(own, affinity, others);
  }

 private:
  const std::vector<std::vector<Parameter>> layers_;  // [L]: W
  const std::vector<at::Tensor> tables_;              // [L] of [V] I32
};

}  // namespace

std::unique_ptr<RouterModule> MakeStableMoe(const RouterOptions& options, std::vector<std::vector<Parameter>> layers,
                                            std::vector<at::Tensor> tables) {
  return std::make_unique<StableMoe>(options, std::move(layers), std::move(tables));
}

}  // namespace switchyard::trainer
