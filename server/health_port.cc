#include "server/health_port.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <chrono>

namespace switchyard {
namespace {
constexpr const char* kReadiness[] = {"", "switchyard.v1.Inference"};
constexpr const char kLiveness[] = "live";
constexpr int kMaxMessageBytes = 4096;  // a request holds a name
}  // namespace

StatusOr<std::unique_ptr<HealthPort>> HealthPort::Start(const std::string& address) {
  std::unique_ptr<HealthPort> health(new HealthPort());
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &health->port_);
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  health->grpc_ = builder.BuildAndStart();
  if (health->grpc_ == nullptr || health->port_ == 0) return Unavailable("health: cannot listen on %s (is another server there?)", address);
  health->SetServing(false);
  health->grpc_->GetHealthCheckService()->SetServingStatus(kLiveness, true);
  return health;
}

HealthPort::~HealthPort() {
  if (grpc_ == nullptr) return;
  grpc_->Shutdown(std::chrono::system_clock::now());
  grpc_->Wait();
}

void HealthPort::SetServing(bool serving) {
  for (const char* service : kReadiness) grpc_->GetHealthCheckService()->SetServingStatus(service, serving);
}

}  // namespace switchyard
