#include "server/call_gate.h"

#include <algorithm>
#include <random>
#include <string_view>
#include <utility>

#include "server/call_common.h"
#include "server/log.h"
#include "server/plain_name.h"
#include "server/retry_info.h"

namespace switchyard {
namespace {
using std::chrono::steady_clock;

constexpr size_t kMaxSnapshots = 4;

std::mt19937_64& Random() {
  thread_local std::mt19937_64 random{std::random_device{}()};
  return random;
}

std::string NewId() { return absl::StrFormat("%016x", Random()()); }

bool Sampled(double share) { return std::uniform_real_distribution<double>(0, 1)(Random()) < share; }

// The value of a text header; "" when it is missing, or given more than once: then nobody knows which was meant.
std::string_view Header(const grpc::CallbackServerContext& context, const char* key) {
  const auto [first, last] = context.client_metadata().equal_range(key);
  if (first == last || std::next(first) != last) return {};
  return {first->second.data(), first->second.size()};
}

double MillisecondsSince(SteadyTime start) { return Milliseconds(start, steady_clock::now()); }

}  // namespace

StatusOr<std::unique_ptr<CallGate>> CallGate::Create(GateOptions options, RequestMetrics* metrics) {
  ASSIGN_OR_RETURN(auto authorizer, Authorizer::Open(options.tokens));
  return std::unique_ptr<CallGate>(new CallGate(std::move(options), metrics, std::move(authorizer)));
}

std::shared_ptr<CallTicket> CallGate::Admit(grpc::CallbackServerContext* context, const char* method, Role role, Kind kind) {
  std::shared_ptr<CallTicket> ticket(new CallTicket(this, metrics_->Begin(method)));
  ticket->method_ = method;
  ticket->start_ = steady_clock::now();
  ticket->client_deadline_ = DeadlineOf(*context);
  ticket->peer_ = context->peer();
  ticket->logged_ = Sampled(options_.log_requests);
  const std::string_view given = Header(*context, kRequestIdKey);
  ticket->id_ = IsPlainName(given, 128) ? std::string(given) : NewId();
  context->AddTrailingMetadata(kRequestIdKey, ticket->id_);
  ticket->key_ = Header(*context, kRequestKeyKey).substr(0, 256);
  const std::string_view trace = Header(*context, kTraceParentKey);
  ticket->trace_ = ParseTraceParent(trace);
  if (ticket->trace_) context->AddTrailingMetadata(kTraceParentKey, std::string(trace.substr(0, 55)));
  ticket->refusal_ = Check(context, role, kind, ticket.get());
  return ticket;
}

grpc::Status CallGate::Check(grpc::CallbackServerContext* context, Role role, Kind kind, CallTicket* ticket) {
  const auto identity = authorizer_->Check(Header(*context, "authorization"), role);
  if (!identity.ok()) return ToGrpc(identity.status());
  ticket->token_name_ = identity->name;
  ticket->tenant_ = identity->tenant;
  if (identity->tenant == "*") {
    const std::string_view said = Header(*context, options_.tenants.metadata_key.c_str());
    if (!said.empty() && !IsPlainName(said)) {
      ticket->tenant_.clear();
      return {grpc::INVALID_ARGUMENT, options_.tenants.metadata_key + ": expected 1 to 64 letters, digits, \".\", \"_\" and \"-\""};
    }
    ticket->tenant_ = !said.empty() ? std::string(said) : !identity->name.empty() ? identity->name : "anonymous";
  }
  ticket->account_ = limits_.Find(ticket->tenant_);
  auto refused = limits_.Enter(ticket->account_);
  if (!refused) {
    ticket->entered_ = true;
    if (kind == Kind::kRequest) {
      refused = limits_.Request(ticket->account_);
      ticket->requests_ = 1;
    }
  }
  if (!refused) return grpc::Status::OK;
  context->AddTrailingMetadata(kRetryAfterKey, std::to_string(refused->retry_after.count()));
  return WithRetryInfo(grpc::RESOURCE_EXHAUSTED, refused->message, refused->retry_after);
}

CallTicket::~CallTicket() {
  if (entered_) gate_->limits_.Leave(account_);
  if (ended_ && (logged_ || code_ == absl::StatusCode::kInternal)) WriteLog();
}

SteadyTime CallTicket::Deadline() const {
  const double most = gate_->options_.max_request_seconds;
  if (most <= 0) return client_deadline_;
  const auto latest = steady_clock::now() + std::chrono::duration_cast<steady_clock::duration>(std::chrono::duration<double>(most));
  return std::min(client_deadline_, latest);
}

Status CallTicket::AdmitQuestion() {
  if (const auto refused = gate_->limits_.Request(account_)) return ResourceExhausted("%s", refused->message);
  std::lock_guard lock(mutex_);
  ++requests_;
  return OkStatus();
}

void CallTicket::FirstResult() {
  std::lock_guard lock(mutex_);
  metric_.FirstResult();
}

void CallTicket::NoteParts(const v1::Usage& usage, const v1::Timings& timings, const std::string& snapshot) {
  // What came from the prefix cache cost nothing.
  if (account_ != nullptr) gate_->limits_.ChargeTokens(account_, usage.prompt_tokens() - usage.cached_tokens() + usage.generated_tokens());
  std::lock_guard lock(mutex_);
  prompt_tokens_ += usage.prompt_tokens();
  cached_tokens_ += usage.cached_tokens();
  generated_tokens_ += usage.generated_tokens();
  queue_ms_ += timings.queue_ms();
  prefill_ms_ += timings.prefill_ms();
  if (snapshots_.size() < kMaxSnapshots && std::find(snapshots_.begin(), snapshots_.end(), snapshot) == snapshots_.end())
    snapshots_.push_back(snapshot);
}

void CallTicket::End(const Status& status) {
  std::lock_guard lock(mutex_);
  if (std::exchange(ended_, true)) return;
  metric_.End(status);
  if (std::exchange(entered_, false)) gate_->limits_.Leave(account_);
  code_ = status.code();
  total_ms_ = MillisecondsSince(start_);
}

// No text of the request and none of the status, which may quote it; no token.
void CallTicket::WriteLog() const {
  nlohmann::ordered_json line = {{"id", id_}, {"method", method_}, {"code", absl::StatusCodeToString(code_)}};
  if (!tenant_.empty()) line["tenant"] = tenant_;
  if (!token_name_.empty()) line["token"] = token_name_;
  line["peer"] = peer_;
  line["total_ms"] = total_ms_;
  if (!snapshots_.empty()) {
    line["requests"] = requests_;
    line["queue_ms"] = queue_ms_;
    line["prefill_ms"] = prefill_ms_;
    line["prompt_tokens"] = prompt_tokens_;
    line["cached_tokens"] = cached_tokens_;
    line["generated_tokens"] = generated_tokens_;
    line["generations"] = snapshots_;
  }
  if (trace_) {
    line["trace_id"] = trace_->trace_id;
    line["parent_id"] = trace_->parent_id;
    line["sampled"] = trace_->sampled;
  }
  Log(LogLevel::kInfo, "request", std::move(line));
}

}  // namespace switchyard
