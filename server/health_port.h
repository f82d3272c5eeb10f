// The port for probes: gRPC health alone, in plain text whatever the inference port speaks, for Kubernetes' gRPC probes speak no TLS.
#pragma once

#include <memory>
#include <string>

#include "engine/base/status.h"

namespace grpc {
class Server;
}

namespace switchyard {

// Answers grpc.health.v1.Health: "" and "switchyard.v1.Inference" say what SetServing was told; "live" is SERVING as long as the process
// answers, drains included. Tells nobody anything else, and wants no token. Thread-compatible.
class HealthPort {
 public:
  // `address` is HOST:PORT, port 0 picks one. NOT_SERVING until told. UNAVAILABLE when it cannot be bound.
  static StatusOr<std::unique_ptr<HealthPort>> Start(const std::string& address);
  ~HealthPort();
  HealthPort(const HealthPort&) = delete;
  HealthPort& operator=(const HealthPort&) = delete;

  void SetServing(bool serving);
  int port() const { return port_; }

 private:
  HealthPort() = default;
  std::unique_ptr<grpc::Server> grpc_;
  int port_ = 0;
};

}  // namespace switchyard
