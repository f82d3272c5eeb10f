#include "engine/routing/phatgoose_router.h"

#include <ATen/ATen.h>

#include <cmath>
#include <utility>
#include <vector>

#include "engine/routing/router_tensors.h"
#include "engine/routing/zero_score.h"
#include "engine/tensor/linear.h"

namespace switchyard {

namespace {

// In place, row by row: (x - mean) / standard deviation. A constant row becomes 0.
void Standardise(at::Tensor& rows) {
  const int64_t width = rows.size(1);
  for (int64_t row = 0; row < rows.size(0); ++row) {
    float* x = rows.mutable_data_ptr<float>() + row * width;
    double sum = 0, square = 0;
    for (int64_t i = 0; i < width; ++i) sum += x[i];
    const double mean = sum / static_cast<double>(width);
    for (int64_t i = 0; i < width; ++i) square += (x[i] - mean) * (x[i] - mean);
    const double deviation = std::sqrt(square / static_cast<double>(width));
    for (int64_t i = 0; i < width; ++i) x[i] = deviation == 0 ? 0.0f : static_cast<float>((x[i] - mean) / deviation);
  }
}

// The zero expert's row of the product is 0 and its bias is the constant score, so that one product gives all logits.
class PhatgooseRouter final : public Router {
 public:
  PhatgooseRouter(const SelectionRule& rule, std::vector<Linear> layers) : layers_(std::move(layers)) { rule_ = rule; }

  at::Tensor Logits(int32_t layer, const RouterInput& in) const override {
    at::Tensor rows = in.x.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true).contiguous();
    Standardise(rows);
    return layers_[layer].Forward(rows);
  }
  int32_t num_experts() const override { return static_cast<int32_t>(layers_.front().out_features()); }
  int32_t num_layers() const override { return static_cast<int32_t>(layers_.size()); }
  int64_t bytes() const override {
    int64_t total = 0;
    for (const Linear& layer : layers_) total += layer.bytes();
    return total;
  }

 private:
  std::vector<Linear> layers_;
};

}  // namespace

StatusOr<std::unique_ptr<Router>> LoadPhatgooseRouter(const RouterArtifact& artifact, const SelectionRule& rule, const Compute& compute) {
  const std::vector<RouterExpertBinding>& experts = artifact.manifest.experts;
  const int64_t hidden = artifact.manifest.hidden_size;
  RouterTensors tensors(artifact);
  std::vector<Linear> layers;
  for (int32_t l = 0; l < artifact.manifest.num_layers; ++l) {
    ASSIGN_OR_RETURN(const float zero_score, ReadZeroScore(artifact, l, &tensors));
    std::vector<at::Tensor> rows;
    at::Tensor bias = at::zeros({static_cast<int64_t>(experts.size())}, at::kFloat);
    for (size_t e = 0; e < experts.size(); ++e) {
      at::Tensor gate = at::zeros({hidden}, at::kFloat);
      if (experts[e].is_zero) {
        bias.mutable_data_ptr<float>()[e] = zero_score;
      } else {
        ASSIGN_OR_RETURN(gate, tensors.Get(l, absl::StrFormat("gate.%d", e), {hidden}, at::kFloat));
      }
      rows.push_back(gate);
    }
    at::Tensor gates = at::stack(rows);
    Standardise(gates);
    layers.emplace_back(compute, gates / std::sqrt(static_cast<double>(hidden)), bias, at::kFloat);
  }
  RETURN_IF_ERROR(tensors.CheckAllRead());
  return std::make_unique<PhatgooseRouter>(rule, std::move(layers));
}

}  // namespace switchyard
