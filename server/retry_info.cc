#include "server/retry_info.h"

#include <google/protobuf/any.pb.h>
#include <google/protobuf/duration.pb.h>

namespace switchyard {
namespace {

// A length-delimited field as protobuf writes it. google/rpc's own messages are in no library that is installed with gRPC.
std::string Field(int number, const std::string& bytes) {
  std::string out(1, static_cast<char>(number << 3 | 2));
  size_t size = bytes.size();
  for (; size >= 0x80; size >>= 7) out += static_cast<char>(size | 0x80);
  return out + static_cast<char>(size) + bytes;
}

}  // namespace

grpc::Status WithRetryInfo(grpc::StatusCode code, const std::string& message, std::chrono::milliseconds retry_after) {
  google::protobuf::Duration delay;
  delay.set_seconds(retry_after.count() / 1000);
  delay.set_nanos(static_cast<int32_t>(retry_after.count() % 1000) * 1000000);
  google::protobuf::Any info;
  info.set_type_url("type.googleapis.com/google.rpc.RetryInfo");
  info.set_value(Field(1, delay.SerializeAsString()));
  const std::string code_field = {static_cast<char>(1 << 3), static_cast<char>(code)};
  return {code, message, code_field + Field(2, message) + Field(3, info.SerializeAsString())};
}

}  // namespace switchyard
