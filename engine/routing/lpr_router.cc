#include "engine/routing/lpr_router.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "engine/routing/router_tensors.h"
#include "engine/tensor/linear.h"

namespace switchyard {

namespace {

constexpr double kNormEpsilon = 1e-5, kLeastLength = 1e-8;  // PyTorch's, of LayerNorm and of cosine_similarity

double Length(const float* v, int64_t width) {
  double sum = 0;
  for (int64_t i = 0; i < width; ++i) sum += double{v[i]} * v[i];
  return std::max(std::sqrt(sum), kLeastLength);
}

struct LprLayer {
  std::vector<float> weight, bias;  // [H] of the LayerNorm
  Linear mean;                      // [d, H]
  std::vector<float> keys;          // [E, d], each of length 1
};

class LprRouter final : public Router {
 public:
  LprRouter(const SelectionRule& rule, int32_t experts, std::vector<LprLayer> layers) : experts_(experts), layers_(std::move(layers)) {
    rule_ = rule;
  }

  at::Tensor Logits(int32_t layer, const RouterInput& in) const override {
    const LprLayer& own = layers_[layer];
    const at::Tensor z = own.mean.Forward(Activated(own, in.x.to(at::kFloat).contiguous())).to(at::kFloat).contiguous();
    const int64_t width = z.size(1);
    at::Tensor logits = at::empty({z.size(0), experts_}, at::kFloat);
    float* out = logits.mutable_data_ptr<float>();
    for (const float* row = z.const_data_ptr<float>(); row < z.const_data_ptr<float>() + z.numel(); row += width) {
      const double length = Length(row, width);
      for (const float* key = own.keys.data(); key < own.keys.data() + own.keys.size(); key += width) {
        double dot = 0;
        for (int64_t i = 0; i < width; ++i) dot += double{row[i]} * key[i];
        *out++ = static_cast<float>(dot / length);
      }
    }
    return logits;
  }
  int32_t num_experts() const override { return experts_; }
  int32_t num_layers() const override { return static_cast<int32_t>(layers_.size()); }
  int64_t bytes() const override {
    int64_t total = 0;
    for (const LprLayer& layer : layers_) {
      total += layer.mean.bytes() + static_cast<int64_t>((layer.weight.size() + layer.bias.size() + layer.keys.size()) * sizeof(float));
    }
    return total;
  }

 private:
  // silu(LayerNorm(x)), row by row and value by value, so that neighbours change nothing.
  static at::Tensor Activated(const LprLayer& layer, const at::Tensor& x) {
    const int64_t width = x.size(1);
    at::Tensor activated = at::empty_like(x);
    float* out = activated.mutable_data_ptr<float>();
    for (const float* row = x.const_data_ptr<float>(); row < x.const_data_ptr<float>() + x.numel(); row += width) {
      double sum = 0, squares = 0;
      for (int64_t i = 0; i < width; ++i) sum += row[i];
      const double mean = sum / static_cast<double>(width);
      for (int64_t i = 0; i < width; ++i) squares += (row[i] - mean) * (row[i] - mean);
      const double inverse = 1 / std::sqrt(squares / static_cast<double>(width) + kNormEpsilon);
      for (int64_t i = 0; i < width; ++i) {
        const auto normed = static_cast<float>((row[i] - mean) * inverse * layer.weight[i] + layer.bias[i]);
        *out++ = normed / (1 + std::exp(-normed));
      }
    }
    return activated;
  }

  const int32_t experts_;
  const std::vector<LprLayer> layers_;
};

std::vector<float> Values(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<float>(), tensor.const_data_ptr<float>() + tensor.numel()};
}

}  // namespace

StatusOr<std::unique_ptr<Router>> LoadLprRouter(const RouterArtifact& artifact, const SelectionRule& rule, const Compute& compute) {
  const auto experts = static_cast<int64_t>(artifact.manifest.experts.size());
  const int64_t hidden = artifact.manifest.hidden_size;
  RouterTensors tensors(artifact);
  std::vector<LprLayer> layers;
  for (int32_t l = 0; l < artifact.manifest.num_layers; ++l) {
    ASSIGN_OR_RETURN(const at::Tensor weight, tensors.Get(l, "norm.weight", {hidden}, at::kFloat));
    ASSIGN_OR_RETURN(const at::Tensor bias, tensors.Get(l, "norm.bias", {hidden}, at::kFloat));
    ASSIGN_OR_RETURN(const at::Tensor mean, tensors.Get(l, "mean.weight", {-1, hidden}, at::kFloat));
    const int64_t width = mean.size(0);
    ASSIGN_OR_RETURN(const at::Tensor mean_bias, tensors.Get(l, "mean.bias", {width}, at::kFloat));
    ASSIGN_OR_RETURN(const at::Tensor keys, tensors.Get(l, "keys", {experts, width}, at::kFloat));
    RETURN_IF_ERROR(tensors.Get(l, "log_variance.weight", {width, hidden}, at::kFloat).status());
    RETURN_IF_ERROR(tensors.Get(l, "log_variance.bias", {width}, at::kFloat).status());
    LprLayer layer{Values(weight), Values(bias), Linear(compute, mean, mean_bias, at::kFloat), Values(keys)};
    for (float* key = layer.keys.data(); key < layer.keys.data() + layer.keys.size(); key += width) {
      const double length = Length(key, width);
      for (int64_t i = 0; i < width; ++i) key[i] = static_cast<float>(key[i] / length);
    }
    layers.push_back(std::move(layer));
  }
  RETURN_IF_ERROR(tensors.CheckAllRead());
  return std::make_unique<LprRouter>(rule, static_cast<int32_t>(experts), std::move(layers));
}

}  // namespace switchyard
