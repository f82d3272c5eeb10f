// TaskState: one accepted task on the engine thread, from the queue to its callback.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engine/base/clock.h"
#include "engine/base/status.h"
#include "engine/runtime/engine.h"
#include "engine/runtime/kv_cache.h"
#include "engine/runtime/model_runner.h"
#include "engine/runtime/step_plan.h"
#include "engine/runtime/tasks.h"

namespace switchyard {

// What a task gets when it is accepted.
struct TaskTicket {
  TaskId id = 0;
  std::shared_ptr<const Snapshot> snapshot;  // leased until the task has ended
  SteadyTime submitted;
  bool prefix_cache = true;  // EngineOptions::prefix_cache
};

//   waiting --Admit--> running --(Plan, step, Apply)*--> complete --ReleaseKv, Complete--> gone
//      \_________________________\__ ReleaseKv, Fail ______________________________________/
//
// Used only on the engine thread once it is accepted. Owned by the scheduler.
class TaskState {
 public:
  virtual ~TaskState() = default;
  TaskState(const TaskState&) = delete;
  TaskState& operator=(const TaskState&) = delete;

  // Takes what the prefix tree has and reserves the worst case. False, holding nothing, when that does not fit now.
  bool Admit(KvCache* cache);

  // True when the task wants exactly one row: its newest token's.
  virtual bool decoding() const = 0;
  // Adds at most `budget` rows to the step and returns how many; budget >= 1 gives at least one unless the task is complete.
  virtual StatusOr<int32_t> Plan(int32_t budget, StepPlan* plan) = 0;
  // Takes the answers of the step that Plan wrote to. True when the task is complete.
  virtual StatusOr<bool> Apply(const StepResult& result, SteadyTime now) = 0;

  // Gives back all blocks and promises.
  void ReleaseKv();
  // Each calls the task's callback, the last use of the object. Only one of them, once.
  virtual void Complete(SteadyTime now) = 0;
  virtual void Fail(const Status& status) = 0;

  void MarkFirstStep(SteadyTime now);

  TaskId id() const { return ticket_.id; }
  SteadyTime deadline() const { return common_.deadline; }
  const std::shared_ptr<const Snapshot>& snapshot() const { return ticket_.snapshot; }
  const TaskUsage& usage() const { return usage_; }
  uint64_t scored_tokens() const { return scored_tokens_; }

 protected:
  // `common` is the base of the task the subclass owns.
  TaskState(TaskTicket ticket, const TaskCommon& common, bool use_prefix_cache);

  // Makes the sequences and takes cached blocks for them.
  virtual void OpenSequences(KvLease* lease) = 0;
  virtual void CloseSequences() = 0;
  virtual int32_t WorstCaseBlocks(const KvCache& cache) const = 0;

  // The key of the prefix tree this task may use; null: none.
  const std::string* publish_key() const { return cache_key_.empty() ? nullptr : &cache_key_; }
  // How many of the first `limit` tokens may come from the tree.
  int32_t LookupLimit(int64_t limit) const { return common_.record_routes && !common_.partial_routes ? 0 : static_cast<int32_t>(limit); }
  void MarkFirstResult(SteadyTime now);
  void MarkEnd(SteadyTime now);

  const TaskTicket ticket_;
  const TaskCommon& common_;
  TaskUsage usage_;
  uint64_t scored_tokens_ = 0;

 private:
  const std::string cache_key_;  // empty: this task stays out of the tree
  std::unique_ptr<KvLease> lease_;
  SteadyTime first_step_ = SteadyTime::max();
  bool has_first_result_ = false;
};

}  // namespace switchyard
