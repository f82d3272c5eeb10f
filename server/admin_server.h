// The admin port: a gRPC server of its own, so that no inference client can reach it and no load can keep it waiting.
#pragma once

#include <memory>
#include <string>

#include "engine/base/status.h"
#include "server/admin_service.h"

namespace grpc {
class Server;
}

namespace switchyard {

// Thread-compatible.
class AdminServer {
 public:
  // `catalog` and `engine` must outlive it. INVALID_ARGUMENT for an address that other machines can reach (the port speaks plain text);
  // UNAVAILABLE when it cannot be bound.
  static StatusOr<std::unique_ptr<AdminServer>> Start(const std::string& address, Catalog& catalog, const Engine& engine, bool reflection);
  ~AdminServer();  // ends the calls that wait, their operations go on
  int port() const { return port_; }

 private:
  AdminServer(Catalog& catalog, const Engine& engine) : service_(catalog, engine) {}
  AdminService service_;
  std::unique_ptr<grpc::Server> grpc_;
  int port_ = 0;
};

}  // namespace switchyard
