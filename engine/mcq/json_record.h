// Records of foreign JSON files: objects read without exceptions, fields read with errors that name them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "nlohmann/json.hpp"

namespace switchyard {

// INVALID_ARGUMENT with the place when it is not JSON, or not an object.
StatusOr<nlohmann::json> ParseJsonObject(std::string_view text);

// Calls `visit` for each line that is not blank, with its number from 1, until it returns false.
void ForEachJsonLine(std::string_view text, const std::function<bool(int64_t line, const StatusOr<nlohmann::json>& record)>& visit);

// INVALID_ARGUMENT naming the key when it is missing or of another type. REQUIRES: record is an object.
StatusOr<std::string> StringField(const nlohmann::json& record, const char* key);
StatusOr<int64_t> IntegerField(const nlohmann::json& record, const char* key);
StatusOr<std::vector<std::string>> StringListField(const nlohmann::json& record, const char* key);
// "" when the key is missing or null; numbers are taken as they are written (ids often are).
StatusOr<std::string> OptionalTextField(const nlohmann::json& record, const char* key);
// "" when there is no such string: for what a record can do without. Without blanks at both ends.
std::string StringOrNothing(const nlohmann::json& record, const char* key);

}  // namespace switchyard
