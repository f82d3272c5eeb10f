#include "engine/routing/subspace_norms.h"

#include <ATen/ATen.h>

#include <cmath>
#include <optional>
#include <utility>

#include "engine/routing/zero_score.h"

namespace switchyard {

namespace {

at::Tensor Stacked(const std::vector<at::Tensor>& directions) {
  std::vector<at::Tensor> defined;
  for (const at::Tensor& matrix : directions) {
    if (matrix.defined()) defined.push_back(matrix);
  }
  return at::cat(defined);
}

}  // namespace

SubspaceNorms::SubspaceNorms(const Compute& compute, const std::vector<at::Tensor>& directions, float zero_score)
    : stacked_(compute, Stacked(directions), std::nullopt, at::kFloat), zero_score_(zero_score) {
  for (const at::Tensor& matrix : directions) ranks_.push_back(matrix.defined() ? matrix.size(0) : 0);
}

StatusOr<SubspaceNorms> SubspaceNorms::Load(const RouterArtifact& artifact, int32_t layer, int64_t max_rank, const Compute& compute,
                                            RouterTensors* tensors) {
  const std::vector<RouterExpertBinding>& experts = artifact.manifest.experts;
  std::vector<at::Tensor> matrices(experts.size());
  bool any = false;
  for (size_t e = 0; e < experts.size(); ++e) {
    if (experts[e].is_zero) continue;
    const std::string name = absl::StrFormat("directions.%d", e);
    ASSIGN_OR_RETURN(const at::Tensor directions, tensors->Get(layer, name, {-1, artifact.manifest.hidden_size}, at::kFloat));
    if (max_rank > 0 && directions.size(0) > max_rank) {
      return InvalidArgument("%s: tensor layers.%d.router.%s: expected at most %d rows, found %d", artifact.directory, layer, name,
                             max_rank, directions.size(0));
    }
    matrices[e] = directions;
    any = true;
  }
  if (!any) return InvalidArgument("%s: all experts are zero, a router has nothing to choose", artifact.directory);
  ASSIGN_OR_RETURN(const float zero_score, ReadZeroScore(artifact, layer, tensors));
  return SubspaceNorms(compute, matrices, zero_score);
}

at::Tensor SubspaceNorms::Score(const at::Tensor& x) const {
  const at::Tensor projected = stacked_.Forward(x.to(at::kFloat)).contiguous();
  const float* in = projected.const_data_ptr<float>();
  at::Tensor scores = at::empty({projected.size(0), static_cast<int64_t>(ranks_.size())}, at::kFloat);
  float* out = scores.mutable_data_ptr<float>();
  for (int64_t row = 0; row < projected.size(0); ++row) {
    for (const int64_t rank : ranks_) {
      double square = 0;
      for (int64_t i = 0; i < rank; ++i) square += double{in[i]} * in[i];
      in += rank;
      *out++ = rank == 0 ? zero_score_ : static_cast<float>(std::sqrt(square));
    }
  }
  return scores;
}

}  // namespace switchyard
