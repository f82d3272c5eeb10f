// The gRPC face: hands each call to its reactor. No logic of its own.
#pragma once

#include "server/call_common.h"
#include "switchyard/v1/inference.grpc.pb.h"

namespace switchyard {

// The methods that read people's text take it as bytes (see server/wire.h).
using InferenceFace = v1::Inference::WithRawCallbackMethod_Generate<
    v1::Inference::WithRawCallbackMethod_Score<v1::Inference::WithRawCallbackMethod_ScoreStream<
        v1::Inference::WithRawCallbackMethod_Route<v1::Inference::WithCallbackMethod_GetModel<v1::Inference::Service>>>>>;

// Thread-safe. `context` must outlive the gRPC server.
class InferenceService final : public InferenceFace {
 public:
  explicit InferenceService(const CallContext& context) : context_(context) {}

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Generate(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) override;
  grpc::ServerUnaryReactor* Score(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override;
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* ScoreStream(grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* Route(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context, const v1::GetModelRequest* request,
                                     v1::GetModelResponse* response) override;

 private:
  const CallContext& context_;
};

}  // namespace switchyard
