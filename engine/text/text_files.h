// Reading the small text files of a model directory.
#pragma once

#include <string>
#include <string_view>

#include "engine/base/status.h"
#include "nlohmann/json_fwd.hpp"

namespace switchyard {

// The whole file. NOT_FOUND when absent, RESOURCE_EXHAUSTED when larger than `max_bytes`, DATA_LOSS when it cannot be read.
StatusOr<std::string> ReadTextFile(const std::string& path, size_t max_bytes);

// The file as a JSON object. DATA_LOSS (with the byte position) when it is something else.
StatusOr<nlohmann::json> ReadJsonObject(const std::string& path, size_t max_bytes);

// INVALID_ARGUMENT "`what`: not valid UTF-8 at byte 17" unless `text` is valid.
Status CheckUtf8(std::string_view text, std::string_view what);

}  // namespace switchyard
