#include "server/call_common.h"

namespace switchyard {

void CancelLink::Attach(Engine* engine, TaskId id) {
  bool cancel_now;
  {
    std::lock_guard lock(mutex_);
    engine_ = engine;
    id_ = id;
    cancel_now = cancelled_;
  }
  if (cancel_now) engine->Cancel(id);
}

void CancelLink::Cancel() {
  Engine* engine;
  TaskId id;
  {
    std::lock_guard lock(mutex_);
    cancelled_ = true;
    engine = engine_;
    id = id_;
  }
  if (engine != nullptr) engine->Cancel(id);
}

bool CancelLink::cancelled() const {
  std::lock_guard lock(mutex_);
  return cancelled_;
}

grpc::Status ToGrpc(const Status& status) {
  if (status.ok()) return grpc::Status::OK;
  // absl's codes have gRPC's numbers.
  return {static_cast<grpc::StatusCode>(status.code()), std::string(Message(status))};
}

Status FromGrpc(const grpc::Status& status) { return Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message()); }

SteadyTime DeadlineOf(const grpc::ServerContextBase& context) {
  const auto deadline = context.deadline();
  const auto now = std::chrono::system_clock::now();
  if (deadline - now > std::chrono::hours(24 * 365)) return SteadyTime::max();
  return std::chrono::steady_clock::now() + std::chrono::duration_cast<std::chrono::steady_clock::duration>(deadline - now);
}

}  // namespace switchyard
