// Catalog: the life of versions. Takes requests for changes, loads beside serving on a thread of its own, keeps the desired state on disk,
// and publishes one immutable serving set after another.
//
// A request is an operation: plan -> check -> reserve -> read -> probe -> bind -> warm -> persist -> publish. Whatever step fails, what is
// served stays, and the operation says which step and why. What a publication no longer needs is freed after the last request on it, off
// the request path, and reported in the operation that retired it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/artifact/file_system.h"
#include "engine/base/bounded_queue.h"
#include "engine/base/status.h"
#include "engine/catalog/changes.h"
#include "engine/catalog/loader.h"
#include "engine/catalog/operation.h"
#include "engine/catalog/residency.h"
#include "engine/catalog/state_file.h"

namespace switchyard {

// What a start does when the state names something that no longer loads.
enum class StatePolicy {
  kStrict,  // the start fails with that error
  kServe,   // it is left out and reported; the rest serves, and the file stays as it is until the next change
};

struct CatalogOptions {
  std::string artifact_root;  // where artifacts named over the network may come from; "": none may be loaded
  std::string state_file;     // "": the state does not outlive the process
  StatePolicy state_policy = StatePolicy::kStrict;
  CatalogBudget budget;
  size_t max_queued = 16;                  // waiting operations; one more is RESOURCE_EXHAUSTED
  size_t max_operations = 256;             // finished ones that are remembered
  size_t max_history = 16;                 // revisions one can roll back to, at most kMaxHistory
  FileSystem* files = FileSystem::Real();  // must outlive the catalog
  // Every operation that has ended, refused ones included, on the catalog's thread or the submitter's; must not block. Null: nobody.
  std::function<void(const Operation&)> ended;
  WarmFn warm;  // runs before a set is published, on the loader thread; an error refuses the set. Null: nothing to warm
};

// What is served, for people. A copy.
struct CatalogView {
  uint64_t revision = 0;
  std::string base_generation;
  std::string stable_snapshot, canary_snapshot, shadow_snapshot;  // generations; "" for none
  CatalogContent content;
  std::vector<ExpertInfo> experts;      // as content.experts
  std::vector<RouterInfo> routers;      // as content.routers
  std::vector<std::string> role_notes;  // what routers with a role were made with against what is served, a line each
  std::vector<PastContent> history;     // oldest first
  std::vector<std::string> problems;    // what the start left out
  int64_t resident_bytes = 0;
  CatalogBudget budget;
  int32_t queued = 0;
  OperationLog::Totals totals;
};

// Numbers for a scrape. A copy.
struct CatalogFigures {
  uint64_t revision = 0;
  int64_t experts = 0, routers = 0;  // names
  int64_t resident_bytes = 0;        // experts and routers: served, being loaded, and retired until they are freed
  CatalogBudget budget;
  int32_t queued = 0;
  Residency::Retired retired;
  OperationLog::Totals totals;
  std::array<LatencyHistogram::View, kLoadSteps> step_durations;
};

// Thread-safe but for Create and Stop, which belong to the owner's thread.
class Catalog {
 public:
  using PublishFn = std::function<void(ServingSet)>;

  // Serves the state file's content, or `initial` (generations filled in by what is found) when there is no file yet: blocks until that is
  // published once, on this thread. `initial` must load whole and its stable router must name exactly its experts. `builder` must outlive
  // the catalog; parts and snapshots may outlive both. `publish` is called on the loader thread, one call at a time, and must not block.
  // DATA_LOSS for a broken state file; FAILED_PRECONDITION when it belongs to another base, with both named; what the steps say.
  static StatusOr<std::unique_ptr<Catalog>> Create(CatalogOptions options, SnapshotBuilder* builder, const CatalogContent& initial,
                                                   PublishFn publish);
  ~Catalog();  // Stop()s

  // Queues the changes and returns the operation to follow. INVALID_ARGUMENT for a request that no state could meet; RESOURCE_EXHAUSTED
  // when the queue is full; UNAVAILABLE after Stop.
  StatusOr<uint64_t> Submit(ChangeRequest request);
  // Blocks until the operation has finished or the deadline has passed; then as it is.
  StatusOr<Operation> Wait(uint64_t id, Clock::Time deadline) const { return log_->Wait(id, deadline); }
  StatusOr<Operation> GetOperation(uint64_t id) const { return log_->Get(id); }
  std::vector<Operation> ListOperations() const { return log_->List(); }
  CatalogView Describe() const;
  CatalogFigures Figures() const;

  // Finishes the running operation, refuses the waiting ones, joins the threads. What is published stays as it is. Idempotent.
  void Stop();

 private:
  struct Job {
    uint64_t id = 0;
    ChangeRequest request;
  };

  Catalog(CatalogOptions options, SnapshotBuilder* builder, ArtifactRoot root, PublishFn publish);
  Status LoadFirst(const CatalogContent& initial);
  StatusOr<LoadedContent> LoadDesired(DesiredState* state, Inspector& inspector);
  void Run();
  void Execute(const Job& job);
  Status Apply(const Job& job);
  Status Publish(uint64_t id, LoadedContent next);
  void TellEnd(uint64_t id) const;
  void BeginStep(uint64_t id, LoadStep step);
  // What of `old` nothing new runs on.
  std::vector<Operation::Retired> Retire(uint64_t id, const LoadedContent& old, const LoadedContent& next);
  DesiredState NextState(const CatalogContent& content) const;

  const CatalogOptions options_;
  SnapshotBuilder* const builder_;
  const ArtifactRoot root_;
  const PublishFn publish_;
  const std::shared_ptr<OperationLog> log_;
  const std::shared_ptr<Retirer> retirer_;
  const std::shared_ptr<Residency> residency_;
  const Loader loader_;
  BoundedQueue<Job> queue_;

  // Written by Create and the loader thread only, which therefore read without it; everybody else locks.
  mutable std::mutex mutex_;
  LoadedContent served_;
  uint64_t revision_ = 0;
  std::vector<PastContent> history_;
  std::vector<std::string> problems_;
  Clock::Time step_begin_{};  // loader thread only
  std::atomic<bool> stopping_{false};

  std::thread thread_;
};

}  // namespace switchyard
