#include "engine/routing/arrow_router.h"

#include <ATen/ATen.h>

#include <utility>
#include <vector>

#include "engine/routing/subspace_norms.h"

namespace switchyard {

namespace {

class ArrowRouter final : public Router {
 public:
  ArrowRouter(const SelectionRule& rule, std::vector<SubspaceNorms> layers) : layers_(std::move(layers)) { rule_ = rule; }

  at::Tensor Logits(int32_t layer, const at::Tensor& x) const override { return layers_[layer].Score(x); }
  int32_t num_experts() const override { return layers_.front().num_experts(); }
  int32_t num_layers() const override { return static_cast<int32_t>(layers_.size()); }
  int64_t bytes() const override {
    int64_t total = 0;
    for (const SubspaceNorms& layer : layers_) total += layer.bytes();
    return total;
  }

 private:
  std::vector<SubspaceNorms> layers_;
};

}  // namespace

StatusOr<std::unique_ptr<Router>> LoadArrowRouter(const RouterArtifact& artifact, const SelectionRule& rule, const Compute& compute) {
  RouterTensors tensors(artifact);
  std::vector<SubspaceNorms> layers;
  for (int32_t l = 0; l < artifact.manifest.num_layers; ++l) {
    ASSIGN_OR_RETURN(SubspaceNorms layer, SubspaceNorms::Load(artifact, l, /*max_rank=*/1, compute, &tensors));
    layers.push_back(std::move(layer));
  }
  RETURN_IF_ERROR(tensors.CheckAllRead());
  return std::make_unique<ArrowRouter>(rule, std::move(layers));
}

}  // namespace switchyard
