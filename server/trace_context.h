// W3C Trace Context, level 1: the header `traceparent`. Parsed, logged and returned; the server makes no spans of its own.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace switchyard {

struct TraceParent {
  std::string trace_id;   // 32 lower-case hex digits, not all zero
  std::string parent_id;  // 16, not all zero
  bool sampled = false;
};

// Strict, as the recommendation's section 3.2.2 has it: version 00 is exactly 55 characters; a later version may go on after a "-"; ff is
// invalid. Nothing else is accepted. Pure.
std::optional<TraceParent> ParseTraceParent(std::string_view header);

}  // namespace switchyard
