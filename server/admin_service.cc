#include "server/admin_service.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <string_view>

#include "server/admin_messages.h"
#include "server/call_common.h"
#include "server/log.h"

namespace switchyard {
namespace {

constexpr uint32_t kDefaultWaitMs = 30000, kMaxWaitMs = 600000;
// A waiting call looks this often whether its client has gone.
constexpr std::chrono::milliseconds kPoll{200};

}  // namespace

grpc::Status AdminService::Admit(const grpc::ServerContext& context, std::string* caller) const {
  const auto [first, last] = context.client_metadata().equal_range("authorization");
  const bool one = first != last && std::next(first) == last;
  const auto identity =
      authorizer_.Check(one ? std::string_view(first->second.data(), first->second.size()) : std::string_view(), Role::kAdmin);
  if (!identity.ok()) {
    Log(LogLevel::kWarning, "admin call refused", {{"peer", context.peer()}, {"message", std::string(Message(identity.status()))}});
    return ToGrpc(identity.status());
  }
  if (caller != nullptr) *caller = identity->name.empty() ? context.peer() : identity->name + ", " + context.peer();
  return grpc::Status::OK;
}

grpc::Status AdminService::Answer(grpc::ServerContext* context, uint64_t id, uint32_t wait_ms, v1::Operation* response) {
  const auto end =
      std::min(DeadlineOf(*context), std::chrono::steady_clock::now() + std::chrono::milliseconds(std::min(wait_ms, kMaxWaitMs)));
  for (;;) {
    const auto now = std::chrono::steady_clock::now();
    const auto operation = catalog_.Wait(id, std::min(end, now + kPoll));
    if (!operation.ok()) return ToGrpc(operation.status());
    if (!operation->finished() && now < end && !context->IsCancelled()) continue;
    FillOperation(*operation, response);
    return grpc::Status::OK;
  }
}

grpc::Status AdminService::Apply(grpc::ServerContext* context, const v1::ApplyRequest* request, v1::Operation* response) {
  std::string caller;
  if (const grpc::Status refused = Admit(*context, &caller); !refused.ok()) return refused;
  auto changes = ChangeRequestOf(*request);
  if (!changes.ok()) return ToGrpc(changes.status());
  changes->requested_by = std::move(caller);
  const auto id = catalog_.Submit(*std::move(changes));
  if (!id.ok()) return ToGrpc(id.status());
  return Answer(context, *id, request->has_wait_ms() ? request->wait_ms() : kDefaultWaitMs, response);
}

grpc::Status AdminService::List(grpc::ServerContext* context, const v1::ListRequest*, v1::CatalogState* response) {
  if (const grpc::Status refused = Admit(*context); !refused.ok()) return refused;
  FillState(catalog_.Describe(), response);
  if (divergence_ != nullptr) FillDivergence(*divergence_, response);
  return grpc::Status::OK;
}

grpc::Status AdminService::Describe(grpc::ServerContext* context, const v1::DescribeRequest* request, v1::Artifact* response) {
  if (const grpc::Status refused = Admit(*context); !refused.ok()) return refused;
  const auto kind = KindOf(request->kind());
  if (!kind.ok()) return ToGrpc(kind.status());
  return ToGrpc(FillArtifact(catalog_.Describe(), *kind, request->name(), response));
}

grpc::Status AdminService::GetOperation(grpc::ServerContext* context, const v1::GetOperationRequest* request, v1::Operation* response) {
  if (const grpc::Status refused = Admit(*context); !refused.ok()) return refused;
  return Answer(context, request->id(), request->wait_ms(), response);
}

grpc::Status AdminService::ListOperations(grpc::ServerContext* context, const v1::ListOperationsRequest* request,
                                          v1::ListOperationsResponse* response) {
  if (const grpc::Status refused = Admit(*context); !refused.ok()) return refused;
  for (const Operation& operation : catalog_.ListOperations()) {
    if (request->limit() > 0 && static_cast<uint32_t>(response->operations_size()) >= request->limit()) break;
    FillOperation(operation, response->add_operations());
  }
  return grpc::Status::OK;
}

grpc::Status AdminService::GetUtilisation(grpc::ServerContext* context, const v1::GetUtilisationRequest*, v1::Utilisation* response) {
  if (const grpc::Status refused = Admit(*context); !refused.ok()) return refused;
  FillUtilisation(engine_, response);
  return grpc::Status::OK;
}

}  // namespace switchyard
