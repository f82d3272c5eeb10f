#include "server/score_stream_call.h"

#include <deque>
#include <memory>
#include <set>
#include <utility>

#include "server/call_gate.h"
#include "server/open_streams.h"
#include "server/score_job.h"
#include "server/wire.h"

namespace switchyard {
namespace {

// Lives until gRPC (OnDone) and every request's reply have let go.
class ScoreStreamCall final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                              public EndableStream,
                              public std::enable_shared_from_this<ScoreStreamCall> {
 public:
  ScoreStreamCall(const CallContext& context, std::shared_ptr<CallTicket> ticket) : context_(context), ticket_(std::move(ticket)) {}

  void Start() {
    self_ = shared_from_this();
    if (!ticket_->refusal().ok()) return Refuse();
    StartRead(&incoming_);
    if (context_.streams != nullptr) context_.streams->Add(self_);
  }

  void OnReadDone(bool ok) override {
    std::unique_lock lock(mutex_);
    if (!ok) {
      reads_done_ = true;
      Advance();
      return;
    }
    grpc::ByteBuffer bytes;
    bytes.Swap(&incoming_);
    auto link = std::make_shared<CancelLink>();
    links_.insert(link);
    const bool gone = finished_;
    reading_ = !gone && !draining_ && HasRoom();
    if (reading_) StartRead(&incoming_);
    lock.unlock();
    if (gone) link->Cancel();
    if (Status admitted = ticket_->AdmitQuestion(); !admitted.ok()) return Reply(link, IdOf(bytes), std::move(admitted));
    const bool accepted = context_.workers->TryPost(bytes.Length(), [self = shared_from_this(), bytes, link] { self->Work(bytes, link); });
    // Too busy to work on it, not to say whom it concerns.
    if (!accepted) Reply(link, IdOf(bytes), ResourceExhausted("%s", kBusy));
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    writing_ = false;
    broken_ = broken_ || !ok;
    Advance();
  }

  void OnCancel() override {
    std::set<std::shared_ptr<CancelLink>> links;
    {
      std::lock_guard lock(mutex_);
      cancelled_ = true;
      links = links_;
      Advance();
    }
    for (const auto& link : links) link->Cancel();
  }

  void EndWhenIdle() override {
    std::lock_guard lock(mutex_);
    draining_ = true;
    Advance();
  }

  void OnDone() override {
    if (context_.streams != nullptr) context_.streams->Remove(this);
    std::shared_ptr<ScoreStreamCall> last = std::move(self_);
  }

 private:
  // Refused at the gate: nothing is read.
  void Refuse() {
    finished_ = true;
    ticket_->End(FromGrpc(ticket_->refusal()));
    Finish(ticket_->refusal());
  }

  static std::string IdOf(const grpc::ByteBuffer& bytes) {
    v1::ScoreRequest request;
    return ParseRequest(bytes, &request).ok() ? request.id() : std::string();
  }

  // On a worker. A message that cannot be parsed is answered under the id that could be read.
  void Work(const grpc::ByteBuffer& bytes, const std::shared_ptr<CancelLink>& link) {
    v1::ScoreRequest request;
    if (Status parsed = ParseRequest(bytes, &request); !parsed.ok()) return Reply(link, request.id(), std::move(parsed));
    RunScore(context_, request, {ticket_->Deadline(), ticket_->key(), link},
             [self = shared_from_this(), link, id = request.id()](StatusOr<v1::ScoreResponse> result) {
               self->Reply(link, id, std::move(result));
             });
  }

  // Requests being worked on and answers the client has not taken count alike, so that a slow reader bounds what it can make the server
  // hold. REQUIRES mutex_.
  bool HasRoom() const { return links_.size() + outgoing_.size() < static_cast<size_t>(context_.limits.max_stream_in_flight); }

  void Reply(const std::shared_ptr<CancelLink>& link, const std::string& id, StatusOr<v1::ScoreResponse> result) {
    if (result.ok()) ticket_->Note(*result);
    StatusOr<grpc::ByteBuffer> bytes =
        result.ok() ? SerializeReply(*result, context_.limits.max_reply_bytes) : StatusOr<grpc::ByteBuffer>(result.status());
    if (!bytes.ok()) {
      v1::ScoreResponse refusal;
      refusal.set_id(AsUtf8(id));
      refusal.mutable_error()->set_code(static_cast<int32_t>(bytes.status().code()));
      refusal.mutable_error()->set_message(AsUtf8(std::string(Message(bytes.status()))));
      bytes = SerializeReply(refusal, INT64_MAX);
    }
    std::lock_guard lock(mutex_);
    links_.erase(link);
    if (bytes.ok()) outgoing_.push_back(*std::move(bytes));
    Advance();
  }

  // Whatever can be done next: a write, a read that was held back, the end. REQUIRES mutex_: gRPC's operations are started under it, so
  // that none can follow Finish (their callbacks come from gRPC's own threads, never from inside).
  void Advance() {
    if (finished_) return;
    const bool ended = cancelled_ || broken_;
    const bool write = !ended && !writing_ && !outgoing_.empty();
    if (write) {
      current_.Swap(&outgoing_.front());
      outgoing_.pop_front();
      writing_ = true;
    }
    const bool read = !ended && !draining_ && !reads_done_ && !reading_ && HasRoom();
    if (read) reading_ = true;
    // A read may be under way when a drain ends the stream: gRPC completes it without a message, and a question that was on its way here
    // is the client's to ask elsewhere.
    const bool all_answered = (reads_done_ || draining_) && links_.empty() && outgoing_.empty() && !writing_;
    finished_ = (ended && !writing_) || all_answered;
    if (write) StartWrite(&current_);
    if (read) StartRead(&incoming_);
    if (!finished_) return;
    const Status status = ended         ? Cancelled("the client went away")
                          : reads_done_ ? OkStatus()
                                        : Unavailable("the server is draining: what it took is answered; open a stream elsewhere");
    ticket_->End(status);
    Finish(ToGrpc(status));
  }

  const CallContext& context_;
  const std::shared_ptr<CallTicket> ticket_;
  std::shared_ptr<ScoreStreamCall> self_;
  grpc::ByteBuffer incoming_;  // owned by gRPC while a read is under way
  grpc::ByteBuffer current_;   // owned by gRPC while a write is under way

  std::mutex mutex_;                             // guards what follows
  std::set<std::shared_ptr<CancelLink>> links_;  // one a request being worked on
  std::deque<grpc::ByteBuffer> outgoing_;
  bool reading_ = true, writing_ = false, reads_done_ = false, cancelled_ = false, broken_ = false, draining_ = false, finished_ = false;
};

}  // namespace

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* StartScoreStream(const CallContext& context,
                                                                              grpc::CallbackServerContext* grpc_context) {
  auto call = std::make_shared<ScoreStreamCall>(
      context, context.gate->Admit(grpc_context, "ScoreStream", Role::kInfer, CallGate::Kind::kStreamOfRequests));
  call->Start();
  return call.get();
}

}  // namespace switchyard
