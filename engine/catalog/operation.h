// One request for changes, from its arrival until its last byte is freed, and the bounded record of them.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/clock.h"
#include "engine/base/latency_histogram.h"
#include "engine/base/status.h"
#include "engine/catalog/content.h"

namespace switchyard {

// The steps in their order. Each may fail, which leaves what is served untouched.
enum class LoadStep {
  kQueued,
  kPlan,     // resolve directories, read manifests and hashes, apply the changes to the content, compare-and-swap
  kCheck,    // the routers' bound experts against the served ones
  kReserve,  // memory and count budgets
  kRead,     // experts: read, verify shapes and finite values, make resident
  kProbe,    // routers: the same, the base they are bound to, golden probes replayed
  kBind,     // put snapshots together
  kWarm,     // touch what the first request would
  kPersist,  // the desired state, synced to disk
  kPublish,  // one pointer is exchanged
  kDone,
};
inline constexpr size_t kLoadSteps = static_cast<size_t>(LoadStep::kDone) + 1;
const char* StepName(LoadStep step);

enum class OperationState { kQueued, kRunning, kSucceeded, kFailed };
const char* StateName(OperationState state);

struct Operation {
  uint64_t id = 0;
  std::string summary;
  std::string requested_by;
  std::string kind;  // KindOf its request
  bool dry_run = false;
  OperationState state = OperationState::kQueued;
  LoadStep step = LoadStep::kQueued;  // where it is, or where it failed
  Status error;                       // OK unless it failed
  bool changed = false;               // false also when everything was there already
  uint64_t revision = 0;              // after it
  int64_t load_bytes = 0;             // what it made (or would make) resident
  int64_t resident_bytes = 0;         // experts and routers, before it
  int64_t budget_bytes = 0;           // 0: none
  std::vector<std::string> notes;
  struct StepTime {
    LoadStep step;
    double ms;
  };
  std::vector<StepTime> times;
  // Parts that nothing new runs on; freed when the last request that leased them ends.
  struct Retired {
    ArtifactKind kind;
    std::string generation;
    int64_t bytes = 0;
    bool freed = false;
    double freed_after_ms = 0;  // since the publication
  };
  std::vector<Retired> retired;
  int64_t created_unix_ms = 0;

  bool finished() const { return state == OperationState::kSucceeded || state == OperationState::kFailed; }
  int64_t freed_bytes() const;
  int64_t retiring_bytes() const;
};

// Thread-safe. Keeps every unfinished operation and the latest `max_finished` others.
class OperationLog {
 public:
  explicit OperationLog(size_t max_finished) : max_finished_(max_finished) {}

  uint64_t Add(std::string summary, std::string kind, bool dry_run, std::string requested_by = "");
  // Changes one under the log's lock, and wakes those who wait; unknown ids (forgotten already) are ignored.
  void Update(uint64_t id, const std::function<void(Operation&)>& change);
  StatusOr<Operation> Get(uint64_t id) const;  // NOT_FOUND: never was, or forgotten
  // Until it has finished or the deadline has passed; then as it is.
  StatusOr<Operation> Wait(uint64_t id, Clock::Time deadline) const;
  std::vector<Operation> List() const;  // newest first
  // Totals since the start.
  struct Totals {
    uint64_t succeeded = 0, failed = 0, freed_bytes = 0;
    std::map<std::string, uint64_t> failed_by_step;
    std::map<std::pair<std::string, OperationState>, uint64_t> finished;  // by kind
  };
  Totals totals() const;
  void CountFreed(int64_t bytes);
  // How long the steps of finished operations took, those that failed included.
  LatencyHistogram::View step_durations(LoadStep step) const { return step_durations_[static_cast<size_t>(step)].view(); }

 private:
  void CountFinishedLocked(const Operation& operation);
  void ForgetOldLocked();

  const size_t max_finished_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::map<uint64_t, Operation> operations_;  // guarded by mutex_
  uint64_t last_id_ = 0;                      // guarded by mutex_
  Totals totals_;                             // guarded by mutex_
  std::array<LatencyHistogram, kLoadSteps> step_durations_;
};

}  // namespace switchyard
