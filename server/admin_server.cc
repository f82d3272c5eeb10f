#include "server/admin_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/resource_quota.h>

#include <chrono>

#include "server/tls_options.h"

namespace switchyard {
namespace {
constexpr int kMaxThreads = 32;  // waiting calls, and the poller
constexpr int kMaxMessageBytes = 4 << 20;
}  // namespace

StatusOr<std::unique_ptr<AdminServer>> AdminServer::Start(const std::string& address, Catalog& catalog, const Engine& engine,
                                                          bool reflection) {
  RETURN_IF_ERROR(CheckAdminAddress("admin", address, TlsOptions{}));
  std::unique_ptr<AdminServer> server(new AdminServer(catalog, engine));
  if (reflection) grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &server->port_);
  builder.SetResourceQuota(grpc::ResourceQuota("admin").SetMaxThreads(kMaxThreads));
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.RegisterService(&server->service_);
  server->grpc_ = builder.BuildAndStart();
  if (server->grpc_ == nullptr || server->port_ == 0) return Unavailable("admin: cannot listen on %s (is another server there?)", address);
  return server;
}

AdminServer::~AdminServer() {
  if (grpc_ == nullptr) return;
  grpc_->Shutdown(std::chrono::system_clock::now());
  grpc_->Wait();
}

}  // namespace switchyard
