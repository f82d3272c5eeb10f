#include "engine/routing/stablemoe_router.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "engine/routing/router_tensors.h"
#include "engine/routing/token_tables.h"
#include "engine/tensor/linear.h"

namespace switchyard {

namespace {

class StableMoeRouter final : public Router {
 public:
  StableMoeRouter(const SelectionRule& rule, TokenTables tables, std::vector<Linear> layers)
      : tables_(std::move(tables)), layers_(std::move(layers)) {
    rule_ = rule;
  }

  // A row without an id of the table is NaN, which selection refuses.
  at::Tensor Logits(int32_t layer, const RouterInput& in) const override {
    const at::Tensor affinity = layers_[layer].Forward(in.x.to(at::kFloat)).contiguous();
    const int64_t rows = affinity.size(0), experts = affinity.size(1);
    at::Tensor logits = at::empty({rows, experts}, at::kFloat);
    const float* from = affinity.const_data_ptr<float>();
    float* out = logits.mutable_data_ptr<float>();
    for (int64_t row = 0; row < rows; ++row, from += experts, out += experts) {
      std::fill_n(out, experts, -std::numeric_limits<float>::infinity());
      const int32_t expert = tables_.ExpertOf(layer, in, row);
      if (expert < 0) {
        *out = std::numeric_limits<float>::quiet_NaN();
      } else {
        out[expert] = from[expert];
      }
    }
    return logits;
  }
  int64_t vocabulary() const override { return tables_.vocabulary(); }
  int32_t num_experts() const override { return static_cast<int32_t>(layers_.front().out_features()); }
  int32_t num_layers() const override { return tables_.num_layers(); }
  int64_t bytes() const override {
    int64_t total = tables_.bytes();
    for (const Linear& layer : layers_) total += layer.bytes();
    return total;
  }

 private:
  const TokenTables tables_;
  const std::vector<Linear> layers_;
};

}  // namespace

StatusOr<std::unique_ptr<Router>> LoadStableMoeRouter(const RouterArtifact& artifact, const SelectionRule& rule, const Compute& compute) {
  if (rule.weight_mode != WeightMode::kSigmoid)
    return InvalidArgument("%s: weight_mode: of a stablemoe router it is \"sigmoid\", found \"%s\"", artifact.directory,
                           artifact.manifest.weight_mode.substr(0, 40));
  RouterTensors tensors(artifact);
  ASSIGN_OR_RETURN(TokenTables tables, TokenTables::Read(artifact, &tensors));
  std::vector<Linear> layers;
  const auto experts = static_cast<int64_t>(artifact.manifest.experts.size());
  for (int32_t l = 0; l < artifact.manifest.num_layers; ++l) {
    ASSIGN_OR_RETURN(const at::Tensor weight, tensors.Get(l, "weight", {experts, artifact.manifest.hidden_size}, at::kFloat));
    layers.emplace_back(compute, weight, std::nullopt, at::kFloat);
  }
  RETURN_IF_ERROR(tensors.CheckAllRead());
  return std::make_unique<StableMoeRouter>(rule, std::move(tables), std::move(layers));
}

}  // namespace switchyard
