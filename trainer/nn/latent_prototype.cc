// Latent Prototype Router (2506.21328): z ~ N(mu, sigma^2) with (mu, ln sigma^2) linear in silu(LayerNorm(x)), logits = cos(z, keys); z = mu
// when it is evaluated. Its losses keep the latent space spread out (diversity), near a standard normal (KL), and the keys where their
// tokens are (align); after a step keys move to the mean of their tokens, too.
#include <ATen/ATen.h>

#include <utility>

#include "trainer/nn/router_module.h"
#include "trainer/nn/tensor_views.h"

namespace switchyard::trainer {

namespace {

// mean over all entries of (R̂ R̂ᵀ - I)^2, R̂ the rows of R at length 1. |R̂ R̂ᵀ| = |R̂ᵀ R̂|, so it takes d x d numbers, not rows x rows.
at::Tensor OffIdentity(const at::Tensor& rows) {
  const at::Tensor unit = rows / rows.norm(2, -1, /*keepdim=*/true).clamp_min(1e-12);
  const auto count = static_cast<double>(rows.size(0));
  return (at::matmul(unit.t(), unit).square().sum() - 2 * unit.square().sum() + count) / (count * count);
}

class LatentPrototype final : public RouterModule {
 public:
  LatentPrototype(const RouterOptions& options, std::vector<std::vector<Parameter>> layers)
      : RouterModule(options, static_cast<int32_t>(layers.size()), static_cast<int32_t>(layers.front()[kKeys].value.size(0))),
        layers_(std::move(layers)) {
    const int64_t width = layers_.front()[kKeys].value.size(1);
    for (size_t l = 0; l < layers_.size(); ++l) sums_.push_back(at::zeros({num_experts_, width + 1}, at::kFloat));
  }

  std::vector<Parameter> LayerParameters(int32_t layer) const override { return layers_[layer]; }
  std::vector<TensorView> Tensors(int32_t layer) const override {
    std::vector<TensorView> views;
    for (const Parameter& parameter : layers_[layer]) views.push_back(ViewOf(parameter.name, parameter.value));
    return views;
  }

  StatusOr<RouterOutput> Forward(int32_t layer, const RouterInput& in, at::Generator* generator, const RowTargets& targets) const override {
    ASSIGN_OR_RETURN(RouterOutput out, RouterModule::Forward(layer, in, generator, targets));
    const Latent latent = std::exchange(latent_, {});
    if (generator == nullptr) return out;
    const LatentOptions& o = options_.latent;
    const at::Tensor& keys = layers_[layer][kKeys].value;
    const at::Tensor gates = out.gates.detach();
    const at::Tensor weight = gates.sum(0).unsqueeze(1), tokens = at::matmul(gates.t(), latent.z.detach());  // [E, 1], [E, d]
    sums_[layer].add_(at::cat({tokens, weight}, 1));
    if (o.loss <= 0) return out;
    out.Add(kLatentDiversityLoss, o.loss * o.diversity * (OffIdentity(latent.mean) + OffIdentity(keys)));
    const at::Tensor& variance = latent.log_variance;
    out.Add(kLatentKlLoss, o.loss * o.kl * -.5 * (1 + variance - latent.mean.square() - variance.exp()).sum(-1).mean());
    const at::Tensor used = weight.gt(0);
    if (used.any().item<bool>()) {
      const at::Tensor far = at::where(used, keys - tokens / weight.clamp_min(1e-12), at::zeros({}));
      out.Add(kLatentAlignLoss, o.loss * o.align * far.abs().sum() / (used.sum() * keys.size(1)));
    }
    return out;
  }

  std::vector<at::Tensor> StepSums() const override { return sums_; }
  void AfterStep(std::span<const double>) const override {
    for (size_t l = 0; l < layers_.size(); ++l) {
      const int64_t width = sums_[l].size(1) - 1;
      const at::Tensor weight = sums_[l].slice(1, width), used = weight.gt(0);
      at::Tensor keys = layers_[l][kKeys].value.detach();
      const at::Tensor moved =
          options_.latent.decay * keys + (1 - options_.latent.decay) * sums_[l].slice(1, 0, width) / weight.clamp_min(1e-12);
      keys.copy_(at::where(used, moved, keys));
      at::Tensor sums = sums_[l];
      sums.zero_();
    }
  }

 protected:
  at::Tensor Logits(int32_t layer, const RouterInput& in, at::Generator* generator) const override {
    const std::vector<Parameter>& p = layers_[layer];
    const at::Tensor h = at::silu(at::layer_norm(in.x, {in.x.size(1)}, p[kNormWeight].value, p[kNormBias].value));
    latent_.mean = at::linear(h, p[kMeanWeight].value, p[kMeanBias].value);
    latent_.log_variance = at::linear(h, p[kVarianceWeight].value, p[kVarianceBias].value);
    latent_.z = latent_.mean;
    if (generator != nullptr) {
      const at::Tensor noise = at::empty_like(latent_.mean).normal_(0, 1, *generator);
      latent_.z = latent_.mean + (latent_.log_variance / 2).exp() * noise;
    }
    return at::cosine_similarity(latent_.z.unsqueeze(1), p[kKeys].value.unsqueeze(0), /*dim=*/-1);
  }

 private:
  // Places in a layer's parameters.
  enum { kNormWeight, kNormBias, kMeanWeight, kMeanBias, kVarianceWeight, kVarianceBias, kKeys };
  struct Latent {
    at::Tensor z, mean, log_variance;  // [T, d]
  };

  const std::vector<std::vector<Parameter>> layers_;
  std::vector<at::Tensor> sums_;  // [L] of [E, d + 1]: gates times latents, and gates, of this step's rows
  mutable Latent latent_;         // from Logits to the losses
};

}  // namespace

std::unique_ptr<RouterModule> MakeLatentPrototype(const RouterOptions& options, std::vector<std::vector<Parameter>> layers) {
  return std::make_unique<LatentPrototype>(options, std::move(layers));
}

}  // namespace switchyard::trainer
