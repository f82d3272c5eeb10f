#include "engine/routing/ermoe_router.h"

#include <ATen/ATen.h>

#include <cmath>
#include <utility>
#include <vector>

#include "engine/routing/subspace_norms.h"

namespace switchyard {

namespace {

constexpr float kSmallest = 1e-30f;  // a row without any part in an expert: a finite logit below all others

float Length(const float* values, int64_t count) {
  double square = 0;
  for (int64_t i = 0; i < count; ++i) square += double{values[i]} * values[i];
  return static_cast<float>(std::sqrt(square));
}

// The comparisons let NaN through, for the selection to refuse.
float LogShare(float part, float whole) {
  const float share = part / (whole < kSmallest ? kSmallest : whole);
  return std::log(share < kSmallest ? kSmallest : share);
}

class ErmoeRouter final : public Router {
 public:
  ErmoeRouter(const SelectionRule& rule, std::vector<SubspaceNorms> layers, std::vector<bool> is_zero)
      : layers_(std::move(layers)), is_zero_(std::move(is_zero)) {
    rule_ = rule;
  }

  at::Tensor Logits(int32_t layer, const at::Tensor& x) const override {
    const at::Tensor in = x.to(at::kFloat).contiguous();
    at::Tensor logits = layers_[layer].Score(in);
    for (int64_t row = 0; row < in.size(0); ++row) {
      const float length = Length(in.const_data_ptr<float>() + row * in.size(1), in.size(1));
      float* scores = logits.mutable_data_ptr<float>() + row * logits.size(1);
      for (int32_t e = 0; e < num_experts(); ++e) scores[e] = LogShare(scores[e], is_zero_[e] ? 1.0f : length);
    }
    return logits;
  }
  int32_t num_experts() const override { return layers_.front().num_experts(); }
  int32_t num_layers() const override { return static_cast<int32_t>(layers_.size()); }
  int64_t bytes() const override {
    int64_t total = 0;
    for (const SubspaceNorms& layer : layers_) total += layer.bytes();
    return total;
  }

 private:
  std::vector<SubspaceNorms> layers_;
  std::vector<bool> is_zero_;  // [E]
};

}  // namespace

StatusOr<std::unique_ptr<Router>> LoadErmoeRouter(const RouterArtifact& artifact, const SelectionRule& rule, const Compute& compute) {
  RouterTensors tensors(artifact);
  std::vector<SubspaceNorms> layers;
  for (int32_t l = 0; l < artifact.manifest.num_layers; ++l) {
    ASSIGN_OR_RETURN(SubspaceNorms layer, SubspaceNorms::Load(artifact, l, /*max_rank=*/0, compute, &tensors));
    layers.push_back(std::move(layer));
  }
  RETURN_IF_ERROR(tensors.CheckAllRead());
  std::vector<bool> is_zero;
  for (const RouterExpertBinding& expert : artifact.manifest.experts) is_zero.push_back(expert.is_zero);
  return std::make_unique<ErmoeRouter>(rule, std::move(layers), std::move(is_zero));
}

}  // namespace switchyard
