// The admin port: a gRPC server of its own, so that no inference client can reach it and no load can keep it waiting.
#pragma once

#include <memory>
#include <string>

#include "engine/base/status.h"
#include "server/admin_service.h"
#include "server/authorization.h"
#include "server/periodic.h"
#include "server/tls_options.h"

namespace grpc {
class Server;
}

namespace switchyard {

struct AdminServerOptions {
  std::string address{};  // HOST:PORT, port 0 picks one
  TlsOptions tls{};       // as the inference port's
  std::string tokens{};   // file of bearer tokens: callers need the role `admin`; "": everybody who reaches the port may do everything
  bool reflection = true;
};

// Thread-compatible.
class AdminServer {
 public:
  // `catalog`, `engine` and `divergence` (null: rivals are not measured) must outlive it. INVALID_ARGUMENT for plain text on an address
  // that other machines can reach; UNAVAILABLE when it cannot be bound; and the errors of MakeServerCredentials and Authorizer::Open.
  static StatusOr<std::unique_ptr<AdminServer>> Start(const AdminServerOptions& options, Catalog& catalog, const Engine& engine,
                                                      const DivergenceWatch* divergence);
  ~AdminServer();  // ends the calls that wait, their operations go on
  int port() const { return port_; }
  const Authorizer& authorizer() const { return *authorizer_; }

 private:
  AdminServer(std::unique_ptr<Authorizer> authorizer, Catalog& catalog, const Engine& engine, const DivergenceWatch* divergence);
  const std::unique_ptr<Authorizer> authorizer_;
  AdminService service_;
  std::unique_ptr<grpc::Server> grpc_;
  std::unique_ptr<Periodic> reload_;  // of the tokens
  int port_ = 0;
};

}  // namespace switchyard
