#include "engine/routing/gmm_router.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <utility>
#include <vector>

#include "engine/routing/router_tensors.h"
#include "engine/routing/zero_score.h"
#include "engine/tensor/linear.h"

namespace switchyard {

namespace {

// One expert in one layer: [K], [K, D], [K, D]. `offset` is what does not depend on z: ln weight + (sum ln precision - D ln 2 pi) / 2.
// Empty: zero.
struct Mixture {
  std::vector<double> offset;
  std::vector<float> mean, precision;
};

// ln sum_k exp(offset_k - sum_d precision (z - mean)^2 / 2). NaN in z comes out.
float LogDensity(const Mixture& mixture, const float* z, int64_t width) {
  double best = -std::numeric_limits<double>::infinity(), sum = 0;
  for (size_t k = 0; k < mixture.offset.size(); ++k) {
    const float* mean = mixture.mean.data() + static_cast<int64_t>(k) * width;
    const float* precision = mixture.precision.data() + static_cast<int64_t>(k) * width;
    double distance = 0;
    for (int64_t d = 0; d < width; ++d) distance += double{precision[d]} * (double{z[d]} - mean[d]) * (double{z[d]} - mean[d]);
    const double term = mixture.offset[k] - distance / 2;
    if (std::isnan(term)) return static_cast<float>(term);
    // Rescaled when a larger term comes, so that one pass does.
    if (term > best) {
      sum = sum * std::exp(best - term) + 1;
      best = term;
    } else {
      sum += std::exp(term - best);
    }
  }
  return static_cast<float>(best + std::log(sum));
}

struct GmmLayer {
  Linear projection;  // [D, H] with bias -P c
  std::vector<Mixture> experts = {};
  float zero_score = 0;
};

class GmmRouter final : public Router {
 public:
  GmmRouter(const SelectionRule& rule, std::vector<GmmLayer> layers) : layers_(std::move(layers)) { rule_ = rule; }

  at::Tensor Logits(int32_t layer, const RouterInput& input) const override {
    const GmmLayer& own = layers_[layer];
    const at::Tensor z = own.projection.Forward(input.x.to(at::kFloat)).to(at::kFloat).contiguous();
    const int64_t width = z.size(1);
    at::Tensor logits = at::empty({z.size(0), num_experts()}, at::kFloat);
    float* out = logits.mutable_data_ptr<float>();
    for (int64_t row = 0; row < z.size(0); ++row) {
      const float* in = z.const_data_ptr<float>() + row * width;
      for (const Mixture& expert : own.experts) *out++ = expert.offset.empty() ? own.zero_score : LogDensity(expert, in, width);
    }
    return logits;
  }
  int32_t num_experts() const override { return static_cast<int32_t>(layers_.front().experts.size()); }
  int32_t num_layers() const override { return static_cast<int32_t>(layers_.size()); }
  int64_t bytes() const override {
    size_t total = 0;
    for (const GmmLayer& layer : layers_) {
      total += static_cast<size_t>(layer.projection.bytes());
      for (const Mixture& e : layer.experts)
        total += e.offset.size() * sizeof(double) + (e.mean.size() + e.precision.size()) * sizeof(float);
    }
    return static_cast<int64_t>(total);
  }

 private:
  std::vector<GmmLayer> layers_;
};

std::vector<float> Values(const at::Tensor& tensor) {
  const at::Tensor plain = tensor.contiguous();
  return {plain.const_data_ptr<float>(), plain.const_data_ptr<float>() + plain.numel()};
}

StatusOr<Mixture> LoadMixture(const RouterArtifact& artifact, int32_t layer, size_t expert, int64_t width, RouterTensors* tensors) {
  const auto name = [&](const char* part) { return absl::StrFormat("%s.%d", part, expert); };
  ASSIGN_OR_RETURN(const at::Tensor weight, tensors->Get(layer, name("log_weight"), {-1}, at::kFloat));
  ASSIGN_OR_RETURN(const at::Tensor mean, tensors->Get(layer, name("mean"), {weight.size(0), width}, at::kFloat));
  ASSIGN_OR_RETURN(const at::Tensor precision, tensors->Get(layer, name("precision"), {weight.size(0), width}, at::kFloat));
  if (!(precision.min().item<float>() > 0)) {
    return InvalidArgument("%s: tensor layers.%d.router.%s: expected values above 0, found %g", artifact.directory, layer,
                           name("precision"), precision.min().item<float>());
  }
  Mixture mixture;
  const at::Tensor offset =
      weight.to(at::kDouble) + (precision.to(at::kDouble).log().sum(1) - static_cast<double>(width) * std::log(2 * std::numbers::pi)) / 2;
  mixture.offset = {offset.const_data_ptr<double>(), offset.const_data_ptr<double>() + offset.numel()};
  mixture.mean = Values(mean);
  mixture.precision = Values(precision);
  return mixture;
}

}  // namespace

StatusOr<std::unique_ptr<Router>> LoadGmmRouter(const RouterArtifact& artifact, const SelectionRule& rule, const Compute& compute) {
  const std::vector<RouterExpertBinding>& experts = artifact.manifest.experts;
  const int64_t hidden = artifact.manifest.hidden_size;
  if (std::all_of(experts.begin(), experts.end(), [](const RouterExpertBinding& e) { return e.is_zero; })) {
    return InvalidArgument("%s: all experts are zero, a router has nothing to choose", artifact.directory);
  }
  RouterTensors tensors(artifact);
  std::vector<GmmLayer> layers;
  for (int32_t l = 0; l < artifact.manifest.num_layers; ++l) {
    ASSIGN_OR_RETURN(const at::Tensor center, tensors.Get(l, "center", {hidden}, at::kFloat));
    ASSIGN_OR_RETURN(const at::Tensor projection, tensors.Get(l, "projection", {-1, hidden}, at::kFloat));
    const at::Tensor shift = -at::mv(projection.to(at::kDouble), center.to(at::kDouble)).to(at::kFloat);
    GmmLayer layer{Linear(compute, projection, shift, at::kFloat)};
    ASSIGN_OR_RETURN(layer.zero_score, ReadZeroScore(artifact, l, &tensors));
    for (size_t e = 0; e < experts.size(); ++e) {
      layer.experts.emplace_back();
      if (experts[e].is_zero) continue;
      ASSIGN_OR_RETURN(layer.experts.back(), LoadMixture(artifact, l, e, projection.size(0), &tensors));
    }
    layers.push_back(std::move(layer));
  }
  RETURN_IF_ERROR(tensors.CheckAllRead());
  return std::make_unique<GmmRouter>(rule, std::move(layers));
}

}  // namespace switchyard
