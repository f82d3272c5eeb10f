// The gRPC face: hands each call to its reactor. No logic of its own.
#pragma once

#include "server/call_common.h"
#include "switchyard/v1/inference.grpc.pb.h"

namespace switchyard {

// Thread-safe. `context` must outlive the gRPC server.
class InferenceService final : public v1::Inference::CallbackService {
 public:
  explicit InferenceService(const CallContext& context) : context_(context) {}

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(grpc::CallbackServerContext* context,
                                                           const v1::GenerateRequest* request) override;
  grpc::ServerUnaryReactor* Score(grpc::CallbackServerContext* context, const v1::ScoreRequest* request,
                                  v1::ScoreResponse* response) override;
  grpc::ServerBidiReactor<v1::ScoreRequest, v1::ScoreResponse>* ScoreStream(grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* Route(grpc::CallbackServerContext* context, const v1::RouteRequest* request,
                                  v1::RouteResponse* response) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context, const v1::GetModelRequest* request,
                                     v1::GetModelResponse* response) override;

 private:
  const CallContext& context_;
};

}  // namespace switchyard
