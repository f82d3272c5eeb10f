// Messages as one line of proto3 JSON (the canonical form: lowerCamelCase names; 64-bit integers as strings). Reading also takes the names
// of the .proto file.
#pragma once

#include <string>
#include <string_view>

#include "engine/base/status.h"
#include "google/protobuf/message.h"

namespace switchyard::client {

// Figures that are 0 are written too, so that `"sum": 0` is not mistaken for "no winner"; absent optional fields stay absent.
std::string ToJsonLine(const google::protobuf::Message& message);

// INVALID_ARGUMENT on anything that is not this message, unknown fields included.
Status FromJson(std::string_view json, google::protobuf::Message* message);

}  // namespace switchyard::client
