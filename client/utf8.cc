#include "client/utf8.h"

#include <cstdint>

namespace switchyard::client {
namespace {

struct CodePoint {
  uint32_t value = 0;
  size_t length = 1;
  bool valid = false;
};

// REQUIRES: at < text.size()
CodePoint Decode(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(at);
  if (first < 0x80) return {first, 1, true};
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || at + length > text.size()) return {};
  uint32_t value = first & (0xFF >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xC0) != 0x80) return {};
    value = (value << 6) | (byte(at + i) & 0x3F);
  }
  const uint32_t smallest = length == 2 ? 0x80 : length == 3 ? 0x800 : 0x10000;
  if (value < smallest || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) return {};
  return {value, length, true};
}

size_t Width(uint32_t c) {
  struct Range {
    uint32_t first, last;
  };
  static constexpr Range kZero[] = {{0x300, 0x36F}, {0x200B, 0x200F}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}};
  static constexpr Range kWide[] = {{0x1100, 0x115F},   {0x2E80, 0x303E},   {0x3041, 0xA4CF},   {0xAC00, 0xD7A3},
                                    {0xF900, 0xFAFF},   {0xFE30, 0xFE6F},   {0xFF00, 0xFF60},   {0xFFE0, 0xFFE6},
                                    {0x1F300, 0x1F64F}, {0x1F680, 0x1F6FF}, {0x1F900, 0x1F9FF}, {0x20000, 0x3FFFD}};
  for (const Range& range : kZero) {
    if (c >= range.first && c <= range.last) return 0;
  }
  for (const Range& range : kWide) {
    if (c >= range.first && c <= range.last) return 2;
  }
  return 1;
}

bool IsControl(uint32_t c) { return c < 0x20 || (c >= 0x7F && c <= 0x9F); }

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
constexpr std::string_view kEllipsis = "\xE2\x80\xA6";

}  // namespace

bool IsValidUtf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = Decode(text, at);
    if (!point.valid) return false;
    at += point.length;
  }
  return true;
}

size_t DisplayWidth(std::string_view text) {
  size_t width = 0;
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = Decode(text, at);
    width += point.valid ? Width(point.value) : 1;
    at += point.length;
  }
  return width;
}

std::string Printable(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = Decode(text, at);
    const bool stays = point.valid && (point.value == '\n' || point.value == '\t' || !IsControl(point.value));
    result += stays ? text.substr(at, point.length) : kReplacement;
    at += point.length;
  }
  return result;
}

std::string OneLine(std::string_view text, size_t columns) {
  std::string result;
  size_t width = 0;
  size_t cut = 0;  // where the text must end for the ellipsis to fit
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = Decode(text, at);
    std::string_view piece = text.substr(at, point.length);
    if (point.valid && point.value == '\n') {
      piece = "\\n";
    } else if (point.valid && point.value == '\t') {
      piece = "\\t";
    } else if (point.valid && point.value == '\r') {
      piece = "\\r";
    } else if (!point.valid || IsControl(point.value)) {
      piece = kReplacement;
    }
    const size_t piece_width = DisplayWidth(piece);
    if (columns > 0 && width + piece_width > columns) {
      result.resize(cut);
      result += kEllipsis;
      return result;
    }
    result += piece;
    width += piece_width;
    if (columns == 0 || width + 1 <= columns) cut = result.size();
    at += point.length;
  }
  return result;
}

}  // namespace switchyard::client
