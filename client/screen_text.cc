#include "client/screen_text.h"

#include <cstdint>

#include "engine/mcq/utf8.h"

namespace switchyard::client {
namespace {

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

size_t DisplayWidth(std::string_view text) {
  size_t width = 0;
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = DecodeCodePoint(text, at);
    width += point.valid ? Width(point.value) : 1;
    at += point.length;
  }
  return width;
}

std::string Printable(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = DecodeCodePoint(text, at);
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
    const CodePoint point = DecodeCodePoint(text, at);
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
