#include "engine/routing/ermoe_router.h"

#include <ATen/ATen.h>

#include <cmath>
#include <utility>
#include <vector>

#include "engine/routing/subspace_router.h"

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

class ErmoeRouter final : public SubspaceRouter {
 public:
  using SubspaceRouter::SubspaceRouter;

  at::Tensor Logits(int32_t layer, const RouterInput& input) const override {
    const at::Tensor in = input.x.to(at::kFloat).contiguous();
    at::Tensor logits = SubspaceRouter::Logits(layer, in);
    for (int64_t row = 0; row < in.size(0); ++row) {
      const float length = Length(in.const_data_ptr<float>() + row * in.size(1), in.size(1));
      float* scores = logits.mutable_data_ptr<float>() + row * logits.size(1);
      for (int32_t e = 0; e < num_experts(); ++e) scores[e] = LogShare(scores[e], layers_[layer].norms.is_zero(e) ? 1.0f : length);
    }
    return logits;
  }

 protected:
  std::unique_ptr<Router> Alike(std::vector<SubspaceLayer> layers) const override {
    return std::make_unique<ErmoeRouter>(rule_, derivation_, std::move(layers));
  }
};

}  // namespace

StatusOr<std::unique_ptr<Router>> LoadErmoeRouter(const RouterArtifact& artifact, const SelectionRule& rule, const Compute& compute) {
  ASSIGN_OR_RETURN(SubspaceParameters bases, LoadSubspaces(artifact, /*max_rank=*/0, {DirectionRule::kRowSpace}, compute));
  return std::make_unique<ErmoeRouter>(rule, bases.derivation, std::move(bases.layers));
}

}  // namespace switchyard
