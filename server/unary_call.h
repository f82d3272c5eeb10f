// One unary call worked on by the pool and the engine: validation off the gRPC threads, cancellation, one metric, deletion after OnDone.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "server/call_common.h"
#include "server/call_gate.h"
#include "server/wire.h"

namespace switchyard {

// `Run(context, request, terms, reply)` runs on a worker and calls `reply` exactly once, from any thread.
template <typename Request, typename Response>
class UnaryCall final : public grpc::ServerUnaryReactor {
 public:
  using Reply = std::function<void(StatusOr<Response>)>;
  using Run = void (*)(const CallContext&, const Request&, const CallTerms&, Reply);

  static grpc::ServerUnaryReactor* Start(const char* method, const CallContext& context, grpc::CallbackServerContext* grpc_context,
                                         const grpc::ByteBuffer* request, grpc::ByteBuffer* response, Run run) {
    auto* call = new UnaryCall(context, response, context.gate->Admit(grpc_context, method, Role::kInfer));
    if (!call->ticket_->refusal().ok()) {
      call->Refuse();
      return call;
    }
    // The link is copied: the reply may end the call before `run` returns.
    const CallTerms terms{call->ticket_->Deadline(), call->ticket_->key(), call->link_};
    const bool accepted = context.workers->TryPost(request->Length(), [call, &context, bytes = *request, terms, run] {
      Request parsed;
      if (Status status = ParseRequest(bytes, &parsed); !status.ok()) return call->Complete(std::move(status));
      run(context, parsed, terms, [call](StatusOr<Response> result) { call->Complete(std::move(result)); });
    });
    if (!accepted) call->Complete(ResourceExhausted("%s", kBusy));
    return call;
  }

  void OnCancel() override { link_->Cancel(); }
  void OnDone() override { delete this; }

 private:
  UnaryCall(const CallContext& context, grpc::ByteBuffer* response, std::shared_ptr<CallTicket> ticket)
      : context_(context), response_(response), ticket_(std::move(ticket)) {}

  void Refuse() {
    ticket_->End(FromGrpc(ticket_->refusal()));
    Finish(ticket_->refusal());
  }

  void Complete(StatusOr<Response> result) {
    Status status = result.status();
    if (result.ok()) {
      ticket_->Note(*result);
      auto bytes = SerializeReply(*result, context_.limits.max_reply_bytes);
      status = bytes.status();
      if (bytes.ok()) response_->Swap(&*bytes);
    }
    ticket_->End(status);
    Finish(ToGrpc(status));
  }

  const CallContext& context_;
  grpc::ByteBuffer* const response_;  // gRPC keeps it until OnDone, and OnDone comes only after Finish
  const std::shared_ptr<CallTicket> ticket_;
  const std::shared_ptr<CancelLink> link_ = std::make_shared<CancelLink>();
};

}  // namespace switchyard
