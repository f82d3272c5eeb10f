// Lines of a text: a file read one line at a time with a bound on each, and a text in memory cut into lines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>

#include "engine/base/status.h"

namespace switchyard {

struct Line {
  std::string text;       // without its line break (\n or \r\n)
  int64_t number = 0;     // from 1
  bool complete = true;   // ended by a line break; false only for a last line that is not
  bool too_long = false;  // longer than the bound: `text` is empty, the line was skipped
  uint64_t bytes = 0;     // in the file, line break included
};

// Thread-compatible. Holds one line at a time.
class LineReader {
 public:
  static constexpr size_t kMaxLineBytes = size_t{64} << 20;

  // NOT_FOUND when the file cannot be opened.
  static StatusOr<LineReader> Open(const std::string& path, size_t max_line_bytes = kMaxLineBytes);

  // Nothing at the end of the file.
  std::optional<Line> Next();

 private:
  LineReader(std::ifstream stream, size_t max_line_bytes) : stream_(std::move(stream)), max_line_bytes_(max_line_bytes) {}

  std::ifstream stream_;
  size_t max_line_bytes_;
  int64_t number_ = 0;
};

// The whole file. NOT_FOUND when it cannot be opened, RESOURCE_EXHAUSTED when it is larger than `max_bytes`.
StatusOr<std::string> ReadWholeFile(const std::string& path, size_t max_bytes);

bool IsBlank(std::string_view text);
// Without blanks, tabs and line breaks at both ends.
std::string_view Trim(std::string_view text);

}  // namespace switchyard
