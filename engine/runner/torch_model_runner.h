// The LibTorch implementation of ModelRunner, and the snapshot it runs on.
#pragma once

#include <memory>

#include "engine/base/status.h"
#include "engine/experts/expert_bank.h"
#include "engine/experts/mixture.h"
#include "engine/kernels/thread_pool.h"
#include "engine/model/base_model.h"
#include "engine/model/decoder.h"
#include "engine/model/kv_pool.h"
#include "engine/routing/router.h"
#include "engine/runner/best_experts.h"
#include "engine/runner/step_check.h"
#include "engine/runtime/model_runner.h"
#include "engine/tensor/compute.h"

namespace switchyard {

// The base and how it computes. Shared by runner and snapshots: whoever lives longest keeps it. Not movable: weights point at `compute`.
struct ResidentBase {
  std::unique_ptr<kernels::ThreadPool> pool;  // null in the reference backend
  Compute compute;
  std::unique_ptr<BaseModel> model;
};

// Immutable. info() is thread-safe; the rest is for the engine thread.
class TorchSnapshot final : public Snapshot {
 public:
  TorchSnapshot(SnapshotInfo info, std::shared_ptr<const ResidentBase> base, ExpertBank bank, std::shared_ptr<const Router> router);
  const SnapshotInfo& info() const override { return info_; }
  const ExpertBank& bank() const { return bank_; }
  const Router* router() const { return router_.get(); }  // null without router

 private:
  const SnapshotInfo info_;
  const std::shared_ptr<const ResidentBase> base_;  // the router computes with the base's Compute
  const ExpertBank bank_;
  const std::shared_ptr<const Router> router_;
};

// Run is used only on the engine thread; snapshot() is thread-safe. Exceptions of LibTorch end here, as INTERNAL or RESOURCE_EXHAUSTED.
class TorchModelRunner final : public ModelRunner {
 public:
  TorchModelRunner(std::shared_ptr<const ResidentBase> base, std::shared_ptr<const Snapshot> snapshot, KvPool kv, KvGeometry geometry,
                   MixtureAlgorithm algorithm);
  std::shared_ptr<const Snapshot> snapshot() const override { return snapshot_; }
  KvGeometry kv() const override { return geometry_; }
  StatusOr<StepResult> Run(const Step& step) override;

 private:
  StatusOr<StepResult> Compute(const Step& step, const TorchSnapshot& snapshot);

  const std::shared_ptr<const ResidentBase> base_;
  const std::shared_ptr<const Snapshot> snapshot_;
  KvPool kv_;
  const KvGeometry geometry_;
  const MixtureAlgorithm algorithm_;
  const int64_t max_positions_;
  std::unique_ptr<Decoder> decoder_;
  StepCheck check_;
  BestExperts best_;
};

}  // namespace switchyard
