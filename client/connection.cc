#include "client/connection.h"

#include <algorithm>
#include <chrono>

#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/channel_arguments.h"

namespace switchyard::client {
namespace {

std::shared_ptr<grpc::ChannelCredentials> CredentialsOf(const ConnectionOptions& options) {
  if (!options.tls && options.tls_ca.empty() && options.tls_certificate.empty()) return grpc::InsecureChannelCredentials();
  return grpc::SslCredentials({options.tls_ca, options.tls_key, options.tls_certificate});
}

void Append(const v1::GenerateResponse& piece, v1::GenerateResponse* whole) {
  if (!piece.id().empty()) whole->set_id(piece.id());
  whole->mutable_text()->append(piece.text());
  whole->mutable_tokens()->MergeFrom(piece.tokens());
  whole->mutable_logprobs()->MergeFrom(piece.logprobs());
  if (piece.has_finish()) *whole->mutable_finish() = piece.finish();
  if (piece.has_prompt_tokens()) *whole->mutable_prompt_tokens() = piece.prompt_tokens();
}

}  // namespace

std::shared_ptr<grpc::Channel> OpenChannel(const ConnectionOptions& options, const std::string& balancing) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetLoadBalancingPolicyName(balancing);
  arguments.SetMaxReceiveMessageSize(options.max_message_mib << 20);
  // A server that restarts is found again within a second or so, not after gRPC's default of up to two minutes.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  return grpc::CreateCustomChannel(options.server, CredentialsOf(options), arguments);
}

Connection::Connection(ConnectionOptions options)
    : options_(std::move(options)), stub_(v1::Inference::NewStub(OpenChannel(options_, "round_robin"))) {}

void Connection::Prepare(grpc::ClientContext* context) const {
  const auto timeout = std::chrono::duration<double>(options_.timeout_s);
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::duration_cast<std::chrono::microseconds>(timeout));
  if (!options_.token.empty()) context->AddMetadata("authorization", "Bearer " + options_.token);
  if (!options_.tenant.empty()) context->AddMetadata("switchyard-tenant", options_.tenant);
}

grpc::Status Connection::Generate(const v1::GenerateRequest& request, v1::GenerateResponse* whole, const PieceFn& on_piece) {
  grpc::ClientContext context;
  Prepare(&context);
  whole->Clear();
  const auto reader = stub_->Generate(&context, request);
  v1::GenerateResponse piece;
  while (reader->Read(&piece)) {
    Append(piece, whole);
    if (on_piece) on_piece(piece);
  }
  const grpc::Status status = reader->Finish();
  if (status.ok() && !whole->has_finish()) {
    return grpc::Status(grpc::StatusCode::INTERNAL, "the stream ended without its closing message");
  }
  return status;
}

grpc::Status Connection::Score(const v1::ScoreRequest& request, v1::ScoreResponse* response) {
  grpc::ClientContext context;
  Prepare(&context);
  return stub_->Score(&context, request, response);
}

grpc::Status Connection::Route(const v1::RouteRequest& request, v1::RouteResponse* response) {
  grpc::ClientContext context;
  Prepare(&context);
  return stub_->Route(&context, request, response);
}

grpc::Status Connection::GetModel(v1::GetModelResponse* response) {
  grpc::ClientContext context;
  Prepare(&context);
  return stub_->GetModel(&context, v1::GetModelRequest(), response);
}

}  // namespace switchyard::client
