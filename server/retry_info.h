// "Not now, but then": a gRPC status with google.rpc.RetryInfo in its details.
#pragma once

#include <grpcpp/support/status.h>

#include <chrono>
#include <string>

namespace switchyard {

// The details are a serialized google.rpc.Status, as clients of every language expect them in `grpc-status-details-bin`.
grpc::Status WithRetryInfo(grpc::StatusCode code, const std::string& message, std::chrono::milliseconds retry_after);

}  // namespace switchyard
