#include "server/admin_server.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/resource_quota.h>

#include <chrono>

#include "server/credentials.h"
#include "server/reflection.h"

namespace switchyard {
namespace {
constexpr int kMaxThreads = 32;  // waiting calls, and the poller
constexpr int kMaxMessageBytes = 4 << 20;
}  // namespace

AdminServer::AdminServer(std::unique_ptr<Authorizer> authorizer, Catalog& catalog, const Engine& engine, const DivergenceWatch* divergence)
    : authorizer_(std::move(authorizer)), service_(*authorizer_, catalog, engine, divergence) {}

StatusOr<std::unique_ptr<AdminServer>> AdminServer::Start(const AdminServerOptions& options, Catalog& catalog, const Engine& engine,
                                                          const DivergenceWatch* divergence) {
  RETURN_IF_ERROR(CheckAdminAddress("admin", options.address, options.tls));
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ServerCredentials> credentials, MakeServerCredentials(options.tls));
  ASSIGN_OR_RETURN(std::unique_ptr<Authorizer> authorizer, Authorizer::Open(options.tokens));
  std::unique_ptr<AdminServer> server(new AdminServer(std::move(authorizer), catalog, engine, divergence));
  grpc::ServerBuilder builder;
  SetReflection(builder, options.reflection);
  builder.AddListeningPort(options.address, credentials, &server->port_);
  builder.SetResourceQuota(grpc::ResourceQuota("admin").SetMaxThreads(kMaxThreads));
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.RegisterService(&server->service_);
  server->grpc_ = builder.BuildAndStart();
  if (server->grpc_ == nullptr || server->port_ == 0) {
    return Unavailable("admin: cannot listen on %s (is another server there?)", options.address);
  }
  if (server->authorizer_->enabled()) {
    server->reload_ = std::make_unique<Periodic>(std::chrono::seconds(options.tls.reload_seconds),
                                                 [tokens = server->authorizer_.get()] { tokens->Reload(); });
  }
  return server;
}

AdminServer::~AdminServer() {
  if (grpc_ == nullptr) return;
  grpc_->Shutdown(std::chrono::system_clock::now());
  grpc_->Wait();
}

}  // namespace switchyard
