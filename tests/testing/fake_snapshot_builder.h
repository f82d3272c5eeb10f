// FakeSnapshotBuilder: artifacts that are text files of `key value` lines, for tests of the rooms above loading.
//
//   expert.txt: generation G, bytes N            router.txt: also base B, separable 0|1, bind NAME GENERATION (one line an expert)
//   inspect_error CODE MESSAGE, load_error CODE MESSAGE: what InspectX and LoadX answer instead
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/runtime/snapshot_builder.h"
#include "tests/testing/files.h"

namespace switchyard {

// Thread-safe.
class FakeSnapshotBuilder final : public SnapshotBuilder {
 public:
  const std::string& base_generation() const override { return base_; }
  StatusOr<ExpertInfo> InspectExpert(const std::string& directory) override;
  StatusOr<RouterInfo> InspectRouter(const std::string& directory) override;
  StatusOr<std::shared_ptr<const ExpertPart>> LoadExpert(const std::string& directory) override;
  StatusOr<std::shared_ptr<const RouterPart>> LoadRouter(const std::string& directory) override;
  StatusOr<std::shared_ptr<const Snapshot>> Build(const SnapshotPlan& plan) override;

  // Set before use.
  std::string base_ = "base-1";
  SnapshotInfo like_;  // names and sizes of what Build returns
  std::function<void()> before_load = [] {};
  std::function<Status()> before_build = [] { return OkStatus(); };
  std::atomic<int> loads{0};
  // Parts and snapshots that exist.
  std::shared_ptr<std::atomic<int>> live_parts = std::make_shared<std::atomic<int>>(0);
  std::shared_ptr<std::atomic<int>> live_snapshots = std::make_shared<std::atomic<int>>(0);
};

// Writes artifacts below a directory.
void WriteFakeExpert(const std::string& directory, const std::string& generation, int64_t bytes, const std::string& more = "");
void WriteFakeRouter(const std::string& directory, const std::string& generation,
                     const std::vector<std::pair<std::string, std::string>>& binds, const std::string& more = "");

}  // namespace switchyard
