// Reading UTF-8 one character at a time, strictly: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace switchyard {

struct CodePoint {
  uint32_t value = 0;
  size_t length = 1;  // bytes; 1 for a broken one
  bool valid = false;
};

// REQUIRES: at < text.size()
CodePoint DecodeCodePoint(std::string_view text, size_t at);

bool IsValidUtf8(std::string_view text);

}  // namespace switchyard
