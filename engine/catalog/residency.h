// The account of what is resident: published, being loaded, or retired and not freed yet. Budgets are kept against all three.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "engine/catalog/operation.h"
#include "engine/catalog/retirer.h"
#include "engine/runtime/serving_set.h"
#include "engine/runtime/snapshot_builder.h"

namespace switchyard {

struct CatalogBudget {
  int64_t memory_bytes = 0;  // of experts and routers together, retired ones until they are freed; 0: no bound
  int64_t disk_bytes = 0;    // of all files in the directories that are loaded from, read before any of them; 0: no bound
  int32_t max_experts = 64;  // names
  int32_t max_routers = 16;
};

// Thread-safe. Shared with the parts it has accounted for, so that the last lease may end after the catalog has.
class Residency : public std::enable_shared_from_this<Residency> {
 public:
  Residency(int64_t budget_bytes, std::shared_ptr<Retirer> retirer, std::shared_ptr<OperationLog> log)
      : budget_bytes_(budget_bytes), retirer_(std::move(retirer)), log_(std::move(log)) {}

  // RESOURCE_EXHAUSTED with all figures when `bytes` more would not fit; else they are kept free until Release or Admit.
  Status Reserve(int64_t bytes);
  void Release(int64_t bytes);

  // Accounts for a part under its real size, out of `reserved` bytes that end here. The result reports when it has been freed.
  std::shared_ptr<const ExpertPart> AdmitExpert(std::shared_ptr<const ExpertPart> part, int64_t reserved);
  std::shared_ptr<const RouterPart> AdmitRouter(std::shared_ptr<const RouterPart> part, int64_t reserved);

  // The same snapshot, counted until its last lease ends.
  std::shared_ptr<const Snapshot> AdmitSnapshot(std::shared_ptr<const Snapshot> snapshot);
  // What new requests run on from now on: snapshots that were served and are not in `set` are retired.
  void SetServed(const ServingSet& set);

  // The part of this generation while anybody holds it, else null. A retired one that is found is in use again: its operation no longer
  // waits for its end.
  std::shared_ptr<const ExpertPart> FindExpert(const std::string& generation);
  std::shared_ptr<const RouterPart> FindRouter(const std::string& generation);
  // The same question for plans: nothing comes back to life.
  bool IsResident(ArtifactKind kind, const std::string& generation) const;

  // From now on the end of these parts is reported in operation `id`. Called before the catalog drops its own hold on them.
  void Watch(uint64_t id, const std::vector<std::pair<ArtifactKind, std::string>>& generations);

  int64_t resident_bytes() const;  // reserved ones too
  // What nothing new runs on and is not freed yet.
  struct Retired {
    int64_t snapshots = 0, parts = 0, part_bytes = 0;
    std::optional<double> oldest_seconds;  // absent when there is nothing
  };
  Retired retired(Clock::Time now) const;

 private:
  struct Entry {
    std::weak_ptr<const ExpertPart> expert;
    std::weak_ptr<const RouterPart> router;
    uint64_t serial = 0;  // tells two lives of one generation apart
    int64_t bytes = 0;
    uint64_t operation = 0;  // who hears of its end
    Clock::Time watched_since{};
  };
  using Key = std::pair<ArtifactKind, std::string>;
  struct LiveSnapshot {
    const Snapshot* address = nullptr;  // to tell which is which, never followed
    bool served = false;
    std::optional<Clock::Time> retired_since;
  };
  uint64_t Add(const Key& key, int64_t bytes, int64_t reserved);
  void Freed(const Key& key, uint64_t serial);
  void Revived(const Key& key, uint64_t operation);

  const int64_t budget_bytes_;
  const std::shared_ptr<Retirer> retirer_;
  const std::shared_ptr<OperationLog> log_;
  mutable std::mutex mutex_;
  std::multimap<Key, Entry> entries_;           // guarded by mutex_
  std::map<uint64_t, LiveSnapshot> snapshots_;  // guarded by mutex_; by serial
  int64_t resident_ = 0;                        // guarded by mutex_
  uint64_t last_serial_ = 0;                    // guarded by mutex_
};

}  // namespace switchyard
