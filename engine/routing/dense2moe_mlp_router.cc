#include "engine/routing/dense2moe_mlp_router.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <utility>
#include <vector>

#include "engine/routing/router_tensors.h"
#include "engine/tensor/linear.h"

namespace switchyard {

namespace {

struct MlpLayer {
  Linear fc1, fc2;
};

// 0 in place of what is below 0; NaN stays, to be refused by the selection. By the bits: -0 to -inf are 0x80000000 to 0xff800000. A
// comparison of floats becomes a branch a value here, and half of them are mispredicted.
float Relu(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t keep = -static_cast<uint32_t>(bits - 0x80000000u > 0x7f800000u);
  return std::bit_cast<float>(bits & keep);
}

// In place. Not at::relu_, which would wake OpenMP's threads beside the kernels' own pool. The inner loop of constant length is what the
// compiler turns into vectors.
void Relu(float* values, int64_t count) {
  constexpr int64_t kRun = 16;
  int64_t i = 0;
  for (; i + kRun <= count; i += kRun) {
    for (int64_t j = i; j < i + kRun; ++j) values[j] = Relu(values[j]);
  }
  for (; i < count; ++i) values[i] = Relu(values[i]);
}

class Dense2MoeMlpRouter final : public Router {
 public:
  Dense2MoeMlpRouter(const SelectionRule& rule, Backend backend, std::vector<MlpLayer> layers)
      : backend_(backend), layers_(std::move(layers)) {
    rule_ = rule;
  }

  at::Tensor Logits(int32_t layer, const RouterInput& input) const override {
    const MlpLayer& mlp = layers_[layer];
    if (backend_ == Backend::kReference) return mlp.fc2.Forward(at::relu(mlp.fc1.Forward(input.x.to(at::kFloat))));
    const at::Tensor in = input.x.contiguous();
    const int64_t rows = in.size(0), inner = mlp.fc1.out_features();
    thread_local std::vector<float> hidden;  // a fresh one would be page faults at every layer of a prefill
    hidden.resize(std::max(hidden.size(), static_cast<size_t>(rows * inner)));
    mlp.fc1.ForwardInto(in.const_data_ptr<float>(), rows, in.size(1), hidden.data(), inner, /*accumulate=*/false);
    Relu(hidden.data(), rows * inner);
    at::Tensor logits = at::empty({rows, mlp.fc2.out_features()}, at::kFloat);
    mlp.fc2.ForwardInto(hidden.data(), rows, inner, logits.mutable_data_ptr<float>(), logits.size(1), /*accumulate=*/false);
    return logits;
  }
  int32_t num_experts() const override { return static_cast<int32_t>(layers_.front().fc2.out_features()); }
  int32_t num_layers() const override { return static_cast<int32_t>(layers_.size()); }
  int64_t bytes() const override {
    int64_t total = 0;
    for (const MlpLayer& layer : layers_) total += layer.fc1.bytes() + layer.fc2.bytes();
    return total;
  }

 private:
  const Backend backend_;
  std::vector<MlpLayer> layers_;
};

}  // namespace

StatusOr<std::unique_ptr<Router>> LoadDense2MoeMlpRouter(const RouterArtifact& artifact, const SelectionRule& rule,
                                                         const Compute& compute) {
  const int64_t experts = static_cast<int64_t>(artifact.manifest.experts.size()), hidden = artifact.manifest.hidden_size;
  const bool may_be_bf16 = compute.backend == Backend::kFast && compute.weight_dtype == at::kBFloat16;
  RouterTensors tensors(artifact);
  std::vector<MlpLayer> layers;
  for (int32_t l = 0; l < artifact.manifest.num_layers; ++l) {
    const at::ScalarType fc1_dtype = may_be_bf16 && tensors.IsBf16(l, "fc1.weight") ? at::kBFloat16 : at::kFloat;
    ASSIGN_OR_RETURN(const at::Tensor fc1, tensors.Get(l, "fc1.weight", {-1, hidden}, fc1_dtype));
    ASSIGN_OR_RETURN(const at::Tensor fc1_bias, tensors.Get(l, "fc1.bias", {fc1.size(0)}, at::kFloat));
    ASSIGN_OR_RETURN(const at::Tensor fc2, tensors.Get(l, "fc2.weight", {experts, fc1.size(0)}, at::kFloat));
    ASSIGN_OR_RETURN(const at::Tensor fc2_bias, tensors.Get(l, "fc2.bias", {experts}, at::kFloat));
    layers.push_back({Linear(compute, fc1, fc1_bias, fc1_dtype), Linear(compute, fc2, fc2_bias, at::kFloat)});
  }
  RETURN_IF_ERROR(tensors.CheckAllRead());
  return std::make_unique<Dense2MoeMlpRouter>(rule, compute.backend, std::move(layers));
}

}  // namespace switchyard
