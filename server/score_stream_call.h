// ScoreStream: many ScoreRequests over one stream, answered as they complete.
#pragma once

#include <grpcpp/grpcpp.h>

#include "server/call_common.h"
#include "switchyard/v1/inference.pb.h"

namespace switchyard {

// The reactor of one stream; deletes itself after OnDone. At most limits.max_stream_in_flight requests are worked on; more are not read.
grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* StartScoreStream(const CallContext& context,
                                                                              grpc::CallbackServerContext* grpc_context);

}  // namespace switchyard
