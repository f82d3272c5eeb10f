// The LibTorch implementation of SnapshotBuilder: experts and routers of one resident base.
#pragma once

#include <memory>
#include <string>

#include "engine/runner/torch_model_runner.h"
#include "engine/runtime/snapshot_builder.h"

namespace switchyard {

class TorchExpertPart final : public ExpertPart {
 public:
  TorchExpertPart(ExpertInfo info, std::shared_ptr<const ResidentBase> base, std::shared_ptr<const Expert> expert)
      : info_(std::move(info)), base_(std::move(base)), expert_(std::move(expert)) {}
  const ExpertInfo& info() const override { return info_; }
  const Expert& expert() const { return *expert_; }

 private:
  const ExpertInfo info_;
  const std::shared_ptr<const ResidentBase> base_;  // the expert computes with the base's Compute
  const std::shared_ptr<const Expert> expert_;
};

class TorchRouterPart final : public RouterPart {
 public:
  TorchRouterPart(RouterInfo info, std::shared_ptr<const ResidentBase> base, std::unique_ptr<Router> router)
      : info_(std::move(info)), base_(std::move(base)), router_(std::move(router)) {}
  const RouterInfo& info() const override { return info_; }
  const Router& router() const { return *router_; }

 private:
  const RouterInfo info_;
  const std::shared_ptr<const ResidentBase> base_;
  const std::unique_ptr<const Router> router_;
};

// Thread-safe: a load touches nothing that a step uses, and computes on its own thread alone, so that it never waits for a step or makes
// one wait. Exceptions of LibTorch end here.
class TorchSnapshotBuilder final : public SnapshotBuilder {
 public:
  struct Options {
    bool allow_attention_lora = false;  // ignore attention tensors of experts instead of refusing them
  };
  // `about_base`: the fields of SnapshotInfo that are the base's.
  TorchSnapshotBuilder(std::shared_ptr<const ResidentBase> base, SnapshotInfo about_base, Options options)
      : base_(std::move(base)), about_base_(std::move(about_base)), options_(options) {}

  const std::string& base_generation() const override { return about_base_.base_generation; }
  StatusOr<ExpertInfo> InspectExpert(const std::string& directory) override;
  StatusOr<RouterInfo> InspectRouter(const std::string& directory) override;
  StatusOr<std::shared_ptr<const ExpertPart>> LoadExpert(const std::string& directory) override;
  StatusOr<std::shared_ptr<const RouterPart>> LoadRouter(const std::string& directory) override;
  StatusOr<std::shared_ptr<const Snapshot>> Build(const SnapshotPlan& plan) override;

 private:
  const std::shared_ptr<const ResidentBase> base_;
  const SnapshotInfo about_base_;
  const Options options_;
};

}  // namespace switchyard
