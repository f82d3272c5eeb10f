// The admin service: turns its calls into the catalog's operations and waits for them. Every call begins with its token. No logic of its
// own beyond that.
#pragma once

#include <string>

#include "engine/catalog/catalog.h"
#include "engine/runtime/engine.h"
#include "server/authorization.h"
#include "server/divergence_watch.h"
#include "switchyard/v1/admin.grpc.pb.h"

namespace switchyard {

// Thread-safe. Its calls block (waiting is what they are for), so it runs on gRPC's synchronous threads, apart from the inference port's.
// All of them must outlive the gRPC server.
class AdminService final : public v1::Admin::Service {
 public:
  AdminService(const Authorizer& authorizer, Catalog& catalog, const Engine& engine, const DivergenceWatch* divergence)
      : authorizer_(authorizer), catalog_(catalog), engine_(engine), divergence_(divergence) {}

  grpc::Status Apply(grpc::ServerContext* context, const v1::ApplyRequest* request, v1::Operation* response) override;
  grpc::Status List(grpc::ServerContext* context, const v1::ListRequest* request, v1::CatalogState* response) override;
  grpc::Status Describe(grpc::ServerContext* context, const v1::DescribeRequest* request, v1::Artifact* response) override;
  grpc::Status GetOperation(grpc::ServerContext* context, const v1::GetOperationRequest* request, v1::Operation* response) override;
  grpc::Status ListOperations(grpc::ServerContext* context, const v1::ListOperationsRequest* request,
                              v1::ListOperationsResponse* response) override;
  grpc::Status GetUtilisation(grpc::ServerContext* context, const v1::GetUtilisationRequest* request, v1::Utilisation* response) override;

 private:
  // UNAUTHENTICATED or PERMISSION_DENIED when the caller is no administrator, which the log says. `caller`, if not null: who it is.
  grpc::Status Admit(const grpc::ServerContext& context, std::string* caller = nullptr) const;
  grpc::Status Answer(grpc::ServerContext* context, uint64_t id, uint32_t wait_ms, v1::Operation* response);

  const Authorizer& authorizer_;
  Catalog& catalog_;
  const Engine& engine_;
  const DivergenceWatch* const divergence_;  // may be null
};

}  // namespace switchyard
