#include "client/proto_json.h"

#include "google/protobuf/util/json_util.h"

namespace switchyard::client {

std::string ToJsonLine(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  if (status.ok()) return json;
  // Strings that are no UTF-8; protobuf's own parser refuses them, so no message off the wire comes here.
  return R"({"error":{"code":13,"message":"the message cannot be written as JSON"}})";
}

Status FromJson(std::string_view json, google::protobuf::Message* message) {
  message->Clear();
  const auto status = google::protobuf::util::JsonStringToMessage(google::protobuf::StringPiece(json.data(), json.size()), message);
  if (status.ok()) return OkStatus();
  const auto text = status.message();
  return InvalidArgument("not a %s in proto3 JSON: %s", message->GetDescriptor()->name(), std::string(text.data(), text.size()));
}

}  // namespace switchyard::client
