// What all calls share: the door to the engine, cancellation, status conversion.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "engine/runtime/engine.h"
#include "server/served_model.h"
#include "server/worker_pool.h"

namespace switchyard {

class CallGate;
class DivergenceWatch;
class OpenStreams;

// Shared by every call of a server; outlives them.
struct CallContext {
  const ServedModel* model = nullptr;
  RequestLimits limits;
  WorkerPool* workers = nullptr;
  CallGate* gate = nullptr;               // every method begins there
  DivergenceWatch* divergence = nullptr;  // null where no router can have a rival
  OpenStreams* streams = nullptr;         // what a drain must end; null where nothing drains
};

// Connects a client's cancellation with an engine task that may not exist yet. Thread-safe.
class CancelLink {
 public:
  // The task was submitted. Cancels it at once when the client has gone already.
  void Attach(Engine* engine, TaskId id);
  void Cancel();
  bool cancelled() const;

 private:
  mutable std::mutex mutex_;
  bool cancelled_ = false;
  Engine* engine_ = nullptr;
  TaskId id_ = 0;
};

// What a request brings besides its message.
struct CallTerms {
  SteadyTime deadline = SteadyTime::max();
  std::string key;  // decides between stable and canary; "": the message's id does
  std::shared_ptr<CancelLink> link = std::make_shared<CancelLink>();
};

grpc::Status ToGrpc(const Status& status);
Status FromGrpc(const grpc::Status& status);
// The client's deadline on the steady clock; max() when there is none.
SteadyTime DeadlineOf(const grpc::ServerContextBase& context);
inline constexpr const char kBusy[] = "the server is busy: its request queue is full; retry with backoff";

}  // namespace switchyard
