// Names that are safe in logs, labels and headers.
#pragma once

#include <algorithm>
#include <string_view>

namespace switchyard {

// 1 to `longest` of [A-Za-z0-9._-]: what tokens, tenants and request ids may be called.
inline bool IsPlainName(std::string_view text, size_t longest = 64) {
  return !text.empty() && text.size() <= longest && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  });
}

}  // namespace switchyard
