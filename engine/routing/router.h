// Router: per layer, hidden states (and token ids) in, one logit an expert out. One file a method; registered by kind in
// router_registry.cc.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/artifact/router_artifact.h"
#include "engine/base/status.h"
#include "engine/routing/gate_directions.h"
#include "engine/routing/router_input.h"
#include "engine/routing/selection.h"
#include "engine/tensor/compute.h"

namespace switchyard {

// Immutable after loading. Used only on the engine thread.
class Router {
 public:
  virtual ~Router() = default;
  // Returns logits [T, E] f32, contiguous. Row t depends on row t of the input alone.
  virtual at::Tensor Logits(int32_t layer, const RouterInput& in) const = 0;
  // Above 0: it looks token ids up, which go from 0 to below this and must be in the input. 0: it looks at x alone.
  virtual int64_t vocabulary() const { return 0; }
  // [E] added to a layer's probabilities when experts are chosen, and nowhere else (SelectRow's `bias`); empty for none.
  virtual std::span<const float> SelectionBias(int32_t /*layer*/) const { return {}; }
  // [E] the least probability with which a layer's experts are chosen (SelectRow's `floor`); empty for none.
  virtual std::span<const float> SelectionFloor(int32_t /*layer*/) const { return {}; }
  virtual int32_t num_experts() const = 0;
  virtual int32_t num_layers() const = 0;
  virtual int64_t bytes() const = 0;
  const SelectionRule& rule() const { return rule_; }
  // Whether it can score experts it was not made with, from their own matrices.
  virtual bool derives() const { return false; }
  // A router of the same kind and rule over `experts` alone, each scored as this one scores its own: its logits stand beside this one's.
  // Called while loading. UNIMPLEMENTED when !derives().
  virtual StatusOr<std::unique_ptr<Router>> Derive(const std::vector<ExpertGates>& experts) const;

 protected:
  SelectionRule rule_;
};

// Builds the router an artifact names. UNIMPLEMENTED names the kind; INVALID_ARGUMENT names tensor, expected and found shape.
// The caller has checked the binding (CheckRouterBinding). `compute` must outlive the router.
StatusOr<std::unique_ptr<Router>> LoadRouter(const RouterArtifact& artifact, const Compute& compute);

// `router`, and after its experts those in `experts`, which it was not made with. Errors are those of Router::Derive.
StatusOr<std::unique_ptr<Router>> WithExperts(std::shared_ptr<const Router> router, const std::vector<ExpertGates>& experts);

// Replays the artifact's golden probes (no probes: OK). FAILED_PRECONDITION names the first layer and probe whose experts differ, or
// whose weights differ by more than 1e-3; probes with a margin under 1e-4 are left out. With a bf16 base, where x is rounded, 2e-2 and
// 1e-2. INVALID_ARGUMENT: the router looks at token ids, which probes do not hold.
Status ReplayGoldenProbes(const RouterArtifact& artifact, const Router& router, const Compute& compute);

}  // namespace switchyard
