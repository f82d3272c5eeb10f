#include "engine/mcq/json_record.h"

#include <limits>

#include "engine/mcq/lines.h"

namespace switchyard {

StatusOr<nlohmann::json> ParseJsonObject(std::string_view text) {
  try {
    nlohmann::json value = nlohmann::json::parse(text.begin(), text.end());
    if (!value.is_object()) return InvalidArgument("expected a JSON object, found %s", value.type_name());
    return value;
  } catch (const nlohmann::json::exception& error) {
    return InvalidArgument("not JSON: %s", error.what());
  }
}

void ForEachJsonLine(std::string_view text, const std::function<bool(int64_t line, const StatusOr<nlohmann::json>& record)>& visit) {
  int64_t number = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    ++number;
    at = end + 1;
    if (!IsBlank(line) && !visit(number, ParseJsonObject(line))) return;
  }
}

StatusOr<std::string> StringField(const nlohmann::json& record, const char* key) {
  const auto found = record.find(key);
  if (found == record.end()) return InvalidArgument("\"%s\" is missing", key);
  if (!found->is_string()) return InvalidArgument("\"%s\": expected a string, found %s", key, found->type_name());
  return found->get_ref<const std::string&>();
}

StatusOr<int64_t> IntegerField(const nlohmann::json& record, const char* key) {
  const auto found = record.find(key);
  if (found == record.end()) return InvalidArgument("\"%s\" is missing", key);
  if (!found->is_number_integer()) return InvalidArgument("\"%s\": expected an integer, found %s", key, found->dump().substr(0, 40));
  if (found->is_number_unsigned() && found->get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return InvalidArgument("\"%s\": %s is too large", key, found->dump());
  }
  return found->get<int64_t>();
}

StatusOr<std::vector<std::string>> StringListField(const nlohmann::json& record, const char* key) {
  const auto found = record.find(key);
  if (found == record.end()) return InvalidArgument("\"%s\" is missing", key);
  if (!found->is_array()) return InvalidArgument("\"%s\": expected a list, found %s", key, found->type_name());
  std::vector<std::string> list;
  for (const nlohmann::json& item : *found) {
    if (!item.is_string()) return InvalidArgument("\"%s\": expected strings, found %s", key, item.type_name());
    list.push_back(item.get_ref<const std::string&>());
  }
  return list;
}

StatusOr<std::string> OptionalTextField(const nlohmann::json& record, const char* key) {
  const auto found = record.find(key);
  if (found == record.end() || found->is_null()) return std::string();
  if (found->is_number()) return found->dump();
  return StringField(record, key);
}

std::string StringOrNothing(const nlohmann::json& record, const char* key) {
  const auto found = record.find(key);
  if (found == record.end() || !found->is_string()) return {};
  return std::string(Trim(found->get_ref<const std::string&>()));
}

}  // namespace switchyard
