// The gate in front of every method: request id, trace, token and role, the tenant's limits, the longest time; and behind it what becomes
// of the call: its metric, its charge, its log line.
//
// Every method of every service begins with Admit. gRPC's own health service is open to everybody, and so is reflection where it is on.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/runtime/tasks.h"
#include "server/authorization.h"
#include "server/gate_options.h"
#include "server/request_metrics.h"
#include "server/tenant_limits.h"
#include "server/trace_context.h"
#include "switchyard/v1/inference.pb.h"

namespace switchyard {

inline constexpr char kRequestIdKey[] = "switchyard-request-id";
inline constexpr char kTraceParentKey[] = "traceparent";
inline constexpr char kRequestKeyKey[] = "switchyard-request-key";
inline constexpr char kRetryAfterKey[] = "retry-after-ms";

class CallGate;

// One call from Admit to End. Thread-safe. The gate must outlive it. Writes its log line when the last one lets go of it, under no lock.
class CallTicket {
 public:
  ~CallTicket();

  // Not OK: the call must be ended with this status and nothing else may be done for it (but End).
  const grpc::Status& refusal() const { return refusal_; }
  // The caller's own key for the choice between stable and canary; "" without one.
  const std::string& key() const { return key_; }
  // The client's deadline or max_request_seconds from now, whichever comes first.
  SteadyTime Deadline() const;
  // One more request inside this call (a question of a ScoreStream). RESOURCE_EXHAUSTED when the tenant's limits do not allow it now.
  Status AdmitQuestion();
  void FirstResult();
  // What a reply says of itself, for the log; its tokens are charged to the tenant.
  template <typename Reply>
  void Note(const Reply& reply) {
    if constexpr (requires {
                    reply.usage();
                    reply.timings();
                    reply.generations();
                  })
      NoteParts(reply.usage(), reply.timings(), reply.generations().snapshot());
  }
  // Before the call's Finish; later calls are ignored.
  void End(const Status& status);

 private:
  friend class CallGate;
  CallTicket(CallGate* gate, RequestMetrics::Request metric) : gate_(gate), metric_(std::move(metric)) {}
  void NoteParts(const v1::Usage& usage, const v1::Timings& timings, const std::string& snapshot);
  void WriteLog() const;

  // Constant after Admit.
  CallGate* const gate_;
  const char* method_ = "";
  std::string id_, key_, peer_, token_name_, tenant_;
  std::optional<TraceParent> trace_;
  SteadyTime client_deadline_ = SteadyTime::max();
  SteadyTime start_;
  bool logged_ = false;
  grpc::Status refusal_;
  TenantLimits::AccountRef account_;  // null when the call was refused before it had one

  mutable std::mutex mutex_;  // guards what follows
  RequestMetrics::Request metric_;
  bool entered_ = false, ended_ = false;
  absl::StatusCode code_ = absl::StatusCode::kUnknown;
  double total_ms_ = 0;
  int64_t requests_ = 0, prompt_tokens_ = 0, cached_tokens_ = 0, generated_tokens_ = 0;
  double queue_ms_ = 0, prefill_ms_ = 0;
  std::vector<std::string> snapshots_;  // those that answered, at most kMaxSnapshots
};

// Thread-safe.
class CallGate {
 public:
  // A call that is one request, or one whose questions are.
  enum class Kind { kRequest, kStreamOfRequests };

  // `metrics` must outlive the gate. Errors: those of Authorizer::Open.
  static StatusOr<std::unique_ptr<CallGate>> Create(GateOptions options, RequestMetrics* metrics);

  // On the gRPC thread, before anything else is done with the call. Also sets the trailing metadata. Never null.
  std::shared_ptr<CallTicket> Admit(grpc::CallbackServerContext* context, const char* method, Role role, Kind kind = Kind::kRequest);

  Authorizer& authorizer() { return *authorizer_; }
  const Authorizer& authorizer() const { return *authorizer_; }
  const TenantLimits& limits() const { return limits_; }

 private:
  friend class CallTicket;
  CallGate(GateOptions options, RequestMetrics* metrics, std::unique_ptr<Authorizer> authorizer)
      : options_(std::move(options)), metrics_(metrics), authorizer_(std::move(authorizer)), limits_(options_.tenants, nullptr) {}
  grpc::Status Check(grpc::CallbackServerContext* context, Role role, Kind kind, CallTicket* ticket);

  const GateOptions options_;
  RequestMetrics* const metrics_;
  const std::unique_ptr<Authorizer> authorizer_;
  TenantLimits limits_;
};

}  // namespace switchyard
