// One unary call worked on by the pool and the engine: validation off the gRPC threads, cancellation, one metric, deletion after OnDone.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "server/call_common.h"

namespace switchyard {

// `Run(context, request, deadline, link, reply)` runs on a worker and calls `reply` exactly once, from any thread.
template <typename Request, typename Response>
class UnaryCall final : public grpc::ServerUnaryReactor {
 public:
  using Reply = std::function<void(StatusOr<Response>)>;
  using Run = void (*)(const CallContext&, const Request&, SteadyTime, const std::shared_ptr<CancelLink>&, Reply);

  static grpc::ServerUnaryReactor* Start(const char* method, const CallContext& context, grpc::CallbackServerContext* grpc_context,
                                         const Request* request, Response* response, Run run) {
    auto* call = new UnaryCall(method, context, response);
    const SteadyTime deadline = DeadlineOf(*grpc_context);
    // gRPC keeps `request` and `response` until OnDone, and OnDone comes only after Finish.
    const bool accepted = context.workers->TryPost(
        // The link is copied: the reply may end the call before `run` returns.
        [call, &context, request, deadline, run, link = call->link_] {
          run(context, *request, deadline, link, [call](StatusOr<Response> result) { call->Complete(std::move(result)); });
        });
    if (!accepted) call->Complete(ResourceExhausted("%s", kBusy));
    return call;
  }

  void OnCancel() override { link_->Cancel(); }
  void OnDone() override { delete this; }

 private:
  UnaryCall(const char* method, const CallContext& context, Response* response)
      : response_(response), metric_(context.metrics->Begin(method)) {}

  void Complete(StatusOr<Response> result) {
    const Status status = result.status();
    if (result.ok()) response_->Swap(&*result);
    metric_.End(status);
    Finish(ToGrpc(status));
  }

  Response* const response_;
  RequestMetrics::Request metric_;
  const std::shared_ptr<CancelLink> link_ = std::make_shared<CancelLink>();
};

}  // namespace switchyard
