// Between bytes and messages. The services take their requests as bytes: gRPC's own callback handler answers a message it cannot parse with
// an empty UNIMPLEMENTED, and ends a stream in silence.
#pragma once

#include <google/protobuf/message.h>
#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <string>

#include "engine/base/status.h"

namespace switchyard {

// INVALID_ARGUMENT with what protobuf says about it: the field that is not UTF-8, or that the bytes are no such message. Thread-safe.
Status ParseRequest(const grpc::ByteBuffer& bytes, google::protobuf::Message* request);

// The text itself, or when it is not UTF-8, with "?" for everything that is not ASCII: what a string field of a reply may hold.
std::string AsUtf8(const std::string& text);

// RESOURCE_EXHAUSTED when the reply has more than `max_bytes`, which gRPC would not send. Thread-safe.
StatusOr<grpc::ByteBuffer> SerializeReply(const google::protobuf::Message& reply, int64_t max_bytes);

}  // namespace switchyard
