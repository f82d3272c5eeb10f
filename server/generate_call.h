// Generate: one streaming call, its own sink on the engine's side.
#pragma once

#include <grpcpp/grpcpp.h>

#include "server/call_common.h"
#include "switchyard/v1/inference.pb.h"

namespace switchyard {

// The reactor of one call; deletes itself after OnDone.
grpc::ServerWriteReactor<grpc::ByteBuffer>* StartGenerate(const CallContext& context, grpc::CallbackServerContext* grpc_context,
                                                          const grpc::ByteBuffer* request);

}  // namespace switchyard
