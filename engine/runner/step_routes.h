// The routes of one step: asks the router for rows that route by themselves, writes down what the other policies say, keeps traces and
// counts.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "engine/model/decoder.h"
#include "engine/routing/router.h"
#include "engine/runner/best_experts.h"
#include "engine/runtime/model_runner.h"

namespace switchyard {

// Slots a row of this policy may use, at least 1. `learned_k`: slots of the snapshot's router.
int32_t PolicySlots(const RoutingPolicy& policy, int32_t learned_k);

// Lives for one step, which the caller has checked (StepCheck) and which must outlive it. Used only on the engine thread.
class StepRoutes final : public RouteSource {
 public:
  StepRoutes(const Step& step, const SnapshotInfo& info, const Router* router, BestExperts* best);
  Status Route(int32_t layer, const at::Tensor& x, LayerRoutes* routes) override;
  // Moves traces (one per segment) and counts into the result, after the last layer.
  void Finish(StepResult* result);

 private:
  Status RouteAll(int32_t layer, const at::Tensor& x, LayerRoutes* routes);
  Status RouteLearned(int32_t layer, const at::Tensor& x, LayerRoutes* routes);
  void KeepProbabilities(int32_t layer, size_t segment, int32_t row, std::span<const float> logits);
  void RouteFixed(int32_t layer, const Segment& segment, LayerRoutes* routes) const;
  void Count(int32_t layer, const LayerRoutes& routes);
  void CountFlips(int32_t layer, const LayerRoutes& routes);
  void Trace(int32_t layer, const LayerRoutes& routes);

  const Step& step_;
  const SnapshotInfo& info_;
  const Router* router_;  // null without router
  BestExperts* best_;
  int32_t slots_ = 1;                                    // of the step: the most any policy uses
  std::vector<TokenId> learned_tokens_;                  // ids of the rows that route by themselves, when the router looks at them
  std::vector<std::vector<ExpertIndex>> mixture_order_;  // per segment: experts of a fixed mixture, heaviest first
  std::vector<RouteTrace> traces_;
  RouteCounts counts_;
  double seconds_ = 0;  // inside Route
};

}  // namespace switchyard
