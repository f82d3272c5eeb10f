// Structured log: one JSON object a line on standard error. Thread-safe.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace switchyard {

enum class LogLevel { kInfo, kWarning, kError };
void Log(LogLevel level, const std::string& event, nlohmann::ordered_json fields = nlohmann::ordered_json::object());

}  // namespace switchyard
