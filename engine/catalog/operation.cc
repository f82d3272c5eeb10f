#include "engine/catalog/operation.h"

#include <algorithm>
#include <chrono>

namespace switchyard {

const char* StepName(LoadStep step) {
  static constexpr const char* kNames[] = {"queued", "plan", "check",   "reserve", "read", "probe",
                                           "bind",   "warm", "persist", "publish", "done"};
  return kNames[static_cast<int>(step)];
}

const char* StateName(OperationState state) {
  static constexpr const char* kNames[] = {"queued", "running", "succeeded", "failed"};
  return kNames[static_cast<int>(state)];
}

int64_t Operation::freed_bytes() const {
  int64_t bytes = 0;
  for (const Retired& part : retired) bytes += part.freed ? part.bytes : 0;
  return bytes;
}
int64_t Operation::retiring_bytes() const {
  int64_t bytes = 0;
  for (const Retired& part : retired) bytes += part.freed ? 0 : part.bytes;
  return bytes;
}

uint64_t OperationLog::Add(std::string summary, std::string kind, bool dry_run, std::string requested_by) {
  std::lock_guard lock(mutex_);
  Operation& operation = operations_[++last_id_];
  operation.id = last_id_;
  operation.summary = std::move(summary);
  operation.requested_by = std::move(requested_by);
  operation.kind = std::move(kind);
  operation.dry_run = dry_run;
  operation.created_unix_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  return last_id_;
}

void OperationLog::Update(uint64_t id, const std::function<void(Operation&)>& change) {
  {
    std::lock_guard lock(mutex_);
    const auto found = operations_.find(id);
    if (found == operations_.end()) return;
    const bool finished_before = found->second.finished();
    change(found->second);
    if (!finished_before && found->second.finished()) {
      CountFinishedLocked(found->second);
      ForgetOldLocked();
    }
  }
  changed_.notify_all();
}

void OperationLog::CountFinishedLocked(const Operation& operation) {
  const bool failed = operation.state == OperationState::kFailed;
  if (failed) ++totals_.failed_by_step[StepName(operation.step)];
  ++(failed ? totals_.failed : totals_.succeeded);
  ++totals_.finished[{operation.kind, operation.state}];
  for (const Operation::StepTime& time : operation.times) step_durations_[static_cast<size_t>(time.step)].Observe(time.ms / 1000);
}

void OperationLog::ForgetOldLocked() {
  size_t finished = std::count_if(operations_.begin(), operations_.end(), [](const auto& entry) { return entry.second.finished(); });
  for (auto entry = operations_.begin(); entry != operations_.end() && finished > max_finished_;) {
    if (entry->second.finished()) {
      entry = operations_.erase(entry);
      --finished;
    } else {
      ++entry;
    }
  }
}

StatusOr<Operation> OperationLog::Get(uint64_t id) const { return Wait(id, Clock::Time::min()); }

StatusOr<Operation> OperationLog::Wait(uint64_t id, Clock::Time deadline) const {
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto found = operations_.find(id);
    if (found == operations_.end())
      return NotFound("no operation %d: it never was, or is forgotten (the latest %d are kept)", id, max_finished_);
    if (found->second.finished() || Clock::Real()->Now() >= deadline) return found->second;
    changed_.wait_until(lock, deadline);
  }
}

std::vector<Operation> OperationLog::List() const {
  std::lock_guard lock(mutex_);
  std::vector<Operation> list;
  for (auto entry = operations_.rbegin(); entry != operations_.rend(); ++entry) list.push_back(entry->second);
  return list;
}

OperationLog::Totals OperationLog::totals() const {
  std::lock_guard lock(mutex_);
  return totals_;
}

void OperationLog::CountFreed(int64_t bytes) {
  std::lock_guard lock(mutex_);
  totals_.freed_bytes += static_cast<uint64_t>(bytes);
}

}  // namespace switchyard
