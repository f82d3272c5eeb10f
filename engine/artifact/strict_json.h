// JSON of untrusted files: refuses duplicate keys and deep nesting, which nlohmann's DOM accepts. Its copies and dump() recurse, so a
// document nested a million times would overflow the stack of whoever quotes it in an error.
#pragma once

#include <string>
#include <string_view>

#include "engine/base/status.h"

namespace switchyard {

// DATA_LOSS naming `where` and the problem: not valid JSON (UTF-8 included), a key given twice in one object, or more than 8 objects or 8
// arrays inside each other. Linear in the text; no recursion.
Status CheckStrictJson(std::string_view text, const std::string& where);

}  // namespace switchyard
