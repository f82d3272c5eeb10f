// A server's admin port, seen as six calls.
#pragma once

#include <memory>
#include <string>

#include "CLI/App.hpp"
#include "client/command.h"
#include "client/connection.h"
#include "switchyard/v1/admin.grpc.pb.h"

namespace switchyard::client {

inline constexpr char kDefaultAdmin[] = "127.0.0.1:8502";

// --server (SWITCHYARD_ADMIN), --timeout, TLS and token
void AddAdminConnectionFlags(CLI::App& app, ConnectionOptions* options);
// What went wrong and what to do, on the error stream.
ExitCode FailAdmin(Terminal& terminal, const grpc::Status& status, const ConnectionOptions& options);

// Thread-safe. Each call blocks until its end or options.timeout_s.
class AdminConnection {
 public:
  explicit AdminConnection(ConnectionOptions options);

  grpc::Status Apply(const v1::ApplyRequest& request, v1::Operation* response);
  grpc::Status List(v1::CatalogState* response);
  grpc::Status Describe(const v1::DescribeRequest& request, v1::Artifact* response);
  grpc::Status GetOperation(const v1::GetOperationRequest& request, v1::Operation* response);
  grpc::Status ListOperations(uint32_t limit, v1::ListOperationsResponse* response);
  grpc::Status GetUtilisation(v1::Utilisation* response);

 private:
  void Prepare(grpc::ClientContext* context, double more_s = 0) const;

  const ConnectionOptions options_;
  std::unique_ptr<v1::Admin::Stub> stub_;
};

}  // namespace switchyard::client
