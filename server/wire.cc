#include "server/wire.h"

#include <google/protobuf/stubs/common.h>
#include <google/protobuf/stubs/logging.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <mutex>
#include <string>

#include "server/log.h"

namespace switchyard {
namespace {

// What protobuf logs while this thread parses; it says nowhere else which field is wrong.
thread_local std::string* parse_complaints = nullptr;

void OnProtobufLog(google::protobuf::LogLevel level, const char* file, int line, const std::string& message) {
  if (parse_complaints != nullptr) {
    *parse_complaints += (parse_complaints->empty() ? "" : "; ") + message;
  } else {
    Log(level >= google::protobuf::LOGLEVEL_ERROR ? LogLevel::kError : LogLevel::kWarning, "protobuf",
        {{"message", message}, {"file", file}, {"line", line}});
  }
}

}  // namespace

Status ParseRequest(const grpc::ByteBuffer& bytes, google::protobuf::Message* request) {
  static std::once_flag installed;
  std::call_once(installed, [] { google::protobuf::SetLogHandler(OnProtobufLog); });
  std::string complaints;
  parse_complaints = &complaints;
  grpc::ByteBuffer copy = bytes;  // shares the slices; reading consumes it
  const grpc::Status parsed = grpc::GenericDeserialize<grpc::ProtoBufferReader, google::protobuf::Message>(&copy, request);
  parse_complaints = nullptr;
  if (parsed.ok()) return OkStatus();
  return InvalidArgument("the request's bytes are no valid %s: %s", request->GetTypeName(),
                         complaints.empty() ? "malformed or cut off" : complaints);
}

std::string AsUtf8(const std::string& text) {
  if (google::protobuf::internal::IsStructurallyValidUTF8(text.data(), static_cast<int>(text.size()))) return text;
  std::string ascii = text;
  for (char& c : ascii) {
    if (static_cast<unsigned char>(c) >= 0x80) c = '?';
  }
  return ascii;
}

StatusOr<grpc::ByteBuffer> SerializeReply(const google::protobuf::Message& reply, int64_t max_bytes) {
  const auto size = static_cast<int64_t>(reply.ByteSizeLong());
  if (size > max_bytes) {
    return ResourceExhausted("the reply has %d bytes, the server sends at most %d; ask for less (routes, log-probabilities)", size,
                             max_bytes);
  }
  grpc::ByteBuffer bytes;
  bool own = false;
  const grpc::Status written = grpc::GenericSerialize<grpc::ProtoBufferWriter, google::protobuf::Message>(reply, &bytes, &own);
  if (!written.ok()) return Internal("the reply cannot be serialized: %s", written.error_message());
  return bytes;
}

}  // namespace switchyard
