#include "server/log.h"

#include <chrono>
#include <cstdio>
#include <ctime>
#include <utility>

namespace switchyard {

void Log(LogLevel level, const std::string& event, nlohmann::ordered_json fields) {
  static constexpr const char* kNames[] = {"info", "warning", "error"};
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto millis = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  std::tm utc;
  gmtime_r(&seconds, &utc);
  char stamp[32];
  const size_t n = std::strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(stamp + n, sizeof(stamp) - n, ".%03dZ", static_cast<int>(millis));
  nlohmann::ordered_json line = {{"time", stamp}, {"level", kNames[static_cast<int>(level)]}, {"event", event}};
  line.update(fields);
  const std::string text = line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  std::fwrite(text.data(), 1, text.size(), stderr);  // one write a line: lines of several threads do not mix
}

}  // namespace switchyard
