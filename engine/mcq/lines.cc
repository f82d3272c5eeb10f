#include "engine/mcq/lines.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>

namespace switchyard {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";

StatusOr<std::ifstream> OpenForReading(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return InvalidArgument("%s: expected a file, found a directory", path);
  errno = 0;
  std::ifstream stream(path, std::ios::binary);
  if (!stream) return NotFound("%s: cannot be read (%s)", path, std::strerror(errno));
  return stream;
}

}  // namespace

StatusOr<LineReader> LineReader::Open(const std::string& path, size_t max_line_bytes) {
  ASSIGN_OR_RETURN(std::ifstream stream, OpenForReading(path));
  return LineReader(std::move(stream), max_line_bytes);
}

std::optional<Line> LineReader::Next() {
  Line line;
  line.complete = false;
  char buffer[1 << 14];
  bool any = false;
  for (;;) {
    stream_.getline(buffer, sizeof(buffer));
    const auto count = static_cast<size_t>(stream_.gcount());
    if (count == 0 && stream_.eof()) break;
    any = true;
    line.bytes += count;
    // A full buffer sets failbit and keeps the rest for the next round; a found line break is counted but not stored.
    const bool partial = stream_.fail() && !stream_.eof();
    const bool has_break = !partial && !stream_.eof();
    if (partial) stream_.clear();
    if (!line.too_long) line.text.append(buffer, count - (has_break ? 1 : 0));
    if (line.text.size() > max_line_bytes_) {
      line.too_long = true;
      line.text = std::string();
    }
    if (partial) continue;
    line.complete = has_break;
    break;
  }
  if (!any) return std::nullopt;
  if (!line.text.empty() && line.text.back() == '\r') line.text.pop_back();
  line.number = ++number_;
  return line;
}

StatusOr<std::string> ReadWholeFile(const std::string& path, size_t max_bytes) {
  ASSIGN_OR_RETURN(std::ifstream stream, OpenForReading(path));
  std::string text;
  char buffer[1 << 16];
  while (stream.read(buffer, sizeof(buffer)), stream.gcount() > 0) {
    text.append(buffer, static_cast<size_t>(stream.gcount()));
    if (text.size() > max_bytes) return ResourceExhausted("%s: larger than %d bytes", path, max_bytes);
  }
  if (stream.bad()) return DataLoss("%s: reading failed after %d bytes", path, text.size());
  return text;
}

bool IsBlank(std::string_view text) { return text.find_first_not_of(kBlanks) == std::string_view::npos; }

std::string_view Trim(std::string_view text) {
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

}  // namespace switchyard
