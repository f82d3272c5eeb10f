// Batches from file to file: each line of the input is a request in proto3 JSON, the same line of the output its response.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "client/progress.h"
#include "client/retry.h"
#include "client/terminal.h"
#include "engine/base/status.h"
#include "google/protobuf/message.h"
#include "grpcpp/support/status.h"

namespace switchyard::client {

// One kind of request. The prototypes are borrowed (default instances); both messages have a string field "id". `call` is made from many
// threads at once.
struct BatchMethod {
  const google::protobuf::Message* request_prototype = nullptr;
  const google::protobuf::Message* response_prototype = nullptr;
  std::function<grpc::Status(const google::protobuf::Message& request, google::protobuf::Message* response)> call;
};

struct BatchOptions {
  std::string input;
  std::string output;
  int concurrency = 8;
  RetryPolicy retry;
};

struct BatchOutcome {
  int64_t requests = 0;  // in the input
  int64_t resumed = 0;   // of them answered by an earlier run
  int64_t done = 0;      // answered by this run
  int64_t failed = 0;    // lines with an error, earlier runs included
  double seconds = 0;
  // Not OK when the server went away: the lines so far are kept, and the same command goes on from there.
  grpc::Status stopped;
};

// Answers `{"id": ..., "error": {"code": google.rpc.Code, "message": ...}}` for a request that fails; UNAVAILABLE after all retries stops
// the batch instead, because it would spoil every line that follows. Blank lines of the input are passed over.
//
// Lines already in the output are kept after a check: each must be a response or an error with the id of its request. A last line without
// line break (a torn write) is dropped. FAILED_PRECONDITION when the output belongs to another input; INVALID_ARGUMENT, NOT_FOUND and
// DATA_LOSS for files that cannot be used. Blocks until the end.
StatusOr<BatchOutcome> RunBatch(const BatchOptions& options, const BatchMethod& method, Terminal& terminal);

}  // namespace switchyard::client
