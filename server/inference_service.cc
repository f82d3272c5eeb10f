#include "server/inference_service.h"

#include "server/call_gate.h"
#include "server/generate_call.h"
#include "server/reply_parts.h"
#include "server/route_job.h"
#include "server/score_job.h"
#include "server/score_stream_call.h"
#include "server/unary_call.h"
#include "server/version.h"

namespace switchyard {

grpc::ServerWriteReactor<grpc::ByteBuffer>* InferenceService::Generate(grpc::CallbackServerContext* context,
                                                                       const grpc::ByteBuffer* request) {
  return StartGenerate(context_, context, request);
}

grpc::ServerUnaryReactor* InferenceService::Score(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                                  grpc::ByteBuffer* response) {
  return UnaryCall<v1::ScoreRequest, v1::ScoreResponse>::Start("Score", context_, context, request, response, RunScore);
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* InferenceService::ScoreStream(grpc::CallbackServerContext* context) {
  return StartScoreStream(context_, context);
}

grpc::ServerUnaryReactor* InferenceService::Route(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                                  grpc::ByteBuffer* response) {
  return UnaryCall<v1::RouteRequest, v1::RouteResponse>::Start("Route", context_, context, request, response, RunRoute);
}

grpc::ServerUnaryReactor* InferenceService::GetModel(grpc::CallbackServerContext* context, const v1::GetModelRequest*,
                                                     v1::GetModelResponse* response) {
  const auto ticket = context_.gate->Admit(context, "GetModel", Role::kInfer);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  if (!ticket->refusal().ok()) {
    ticket->End(FromGrpc(ticket->refusal()));
    reactor->Finish(ticket->refusal());
    return reactor;
  }
  const ServedModel& model = *context_.model;
  const auto snapshot = model.engine->snapshot();
  const SnapshotInfo& info = snapshot->info();
  FillGenerations(info, response->mutable_generations());
  response->set_router_kind(info.router_kind);
  response->set_top_k(info.top_k);
  response->set_layers(info.num_layers);
  response->set_hidden_size(info.hidden_size);
  response->set_vocabulary(info.vocab_size);
  response->set_max_positions(info.max_positions);
  response->set_dtype(model.dtype);
  response->set_has_chat_template(model.chat_template != nullptr);
  response->set_server_version(kServerVersion);
  response->set_untrained(model.untrained);
  ticket->End(OkStatus());
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

}  // namespace switchyard
