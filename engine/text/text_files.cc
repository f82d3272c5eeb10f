#include "engine/text/text_files.h"

#include <filesystem>
#include <fstream>
#include <system_error>

#include "engine/text/rust_bridge.h"
#include "nlohmann/json.hpp"

namespace switchyard {

StatusOr<std::string> ReadTextFile(const std::string& path, size_t max_bytes) {
  std::error_code error;
  const auto kind = std::filesystem::status(path, error).type();
  if (kind == std::filesystem::file_type::not_found) return NotFound("%s: no such file", path);
  if (kind != std::filesystem::file_type::regular) return DataLoss("%s: not a regular file", path);
  const auto size = std::filesystem::file_size(path, error);
  if (error) return DataLoss("%s: %s", path, error.message());
  if (size > max_bytes) return ResourceExhausted("%s: %d bytes, at most %d are read", path, size, max_bytes);
  std::ifstream file(path, std::ios::binary);
  std::string text(size, '\0');
  if (!file.read(text.data(), static_cast<std::streamsize>(size))) return DataLoss("%s: cannot be read to its end (%d bytes)", path, size);
  return text;
}

StatusOr<nlohmann::json> ReadJsonObject(const std::string& path, size_t max_bytes) {
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, max_bytes));
  try {
    nlohmann::json json = nlohmann::json::parse(text);
    if (!json.is_object()) return DataLoss("%s: expected a JSON object, found %s", path, json.type_name());
    return json;
  } catch (const nlohmann::json::exception& e) {
    return DataLoss("%s: not valid JSON: %s", path, e.what());
  }
}

Status CheckUtf8(std::string_view text, std::string_view what) {
  const size_t valid = swt_invalid_utf8(rust::Bytes(text), text.size());
  if (valid == text.size()) return OkStatus();
  return InvalidArgument("%s: not valid UTF-8 at byte %d", what, valid);
}

}  // namespace switchyard
