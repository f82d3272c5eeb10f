// A router whose logits are lengths |M_e x|, and which can do the same for an expert it was not made with. What Arrow, Autonomy of Experts
// and the projection router share. Private to this room.
#pragma once

#include <ATen/core/Tensor.h>

#include <initializer_list>
#include <memory>
#include <utility>
#include <vector>

#include "engine/routing/gate_directions.h"
#include "engine/routing/router.h"
#include "engine/routing/subspace_norms.h"

namespace switchyard {

struct SubspaceLayer {
  SubspaceNorms norms;
  double temperature = 1;  // derived directions are divided by it
  at::Tensor sample = {};  // [S, H] f32: and by their mean length over it; undefined: not
};

// How a new expert's directions follow from its own matrices.
struct Derivation {
  DirectionRule rule = DirectionRule::kNone;
  const Compute* compute = nullptr;  // outlives the router
};

class SubspaceRouter : public Router {
 public:
  SubspaceRouter(const SelectionRule& rule, Derivation derivation, std::vector<SubspaceLayer> layers)
      : derivation_(derivation), layers_(std::move(layers)) {
    rule_ = rule;
  }

  at::Tensor Logits(int32_t layer, const RouterInput& in) const override { return layers_[layer].norms.Score(in.x); }
  int32_t num_experts() const override { return layers_.front().norms.num_experts(); }
  int32_t num_layers() const override { return static_cast<int32_t>(layers_.size()); }
  int64_t bytes() const override;
  bool derives() const override { return derivation_.rule != DirectionRule::kNone; }
  StatusOr<std::unique_ptr<Router>> Derive(const std::vector<ExpertGates>& experts) const override;

 protected:
  // A router of the same kind and derivation over other matrices.
  virtual std::unique_ptr<Router> Alike(std::vector<SubspaceLayer> layers) const {
    return std::make_unique<SubspaceRouter>(rule_, derivation_, std::move(layers));
  }
  const Derivation derivation_;
  const std::vector<SubspaceLayer> layers_;
};

struct SubspaceParameters {
  Derivation derivation;
  std::vector<SubspaceLayer> layers;
};
// Every layer of an artifact. Optional tensors, with `derive` in the manifest: `temperature` [1] above 0 and `sample` [S, H].
// INVALID_ARGUMENT when `derive` is none of `rules`, or a tensor does not fit.
StatusOr<SubspaceParameters> LoadSubspaces(const RouterArtifact& artifact, int64_t max_rank, std::initializer_list<DirectionRule> rules,
                                           const Compute& compute);

}  // namespace switchyard
