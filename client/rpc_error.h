// A failed call in words a person can act on.
#pragma once

#include <string>

#include "client/connection.h"
#include "client/exit_code.h"
#include "grpcpp/support/status.h"

namespace switchyard::client {

// "INVALID_ARGUMENT"
std::string CodeName(grpc::StatusCode code);

// gRPC itself refused the size of a message; the status code is RESOURCE_EXHAUSTED, but waiting does not help.
bool IsMessageTooLarge(const grpc::Status& status);

// May the same call succeed a little later? (server busy, or not there for the moment)
bool IsTransient(const grpc::Status& status);

// What happened and what to do next, one or two lines.
std::string ExplainRpcError(const grpc::Status& status, const ConnectionOptions& options);

ExitCode ExitCodeFor(const grpc::Status& status);

}  // namespace switchyard::client
