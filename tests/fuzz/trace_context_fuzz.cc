// Any bytes as a traceparent header. What is accepted must say the same when it is written again.

#include <cstdint>
#include <cstdlib>
#include <string>

#include "server/trace_context.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string header(reinterpret_cast<const char*>(data), size);
  const auto parsed = switchyard::ParseTraceParent(header);
  if (!parsed) return 0;
  if (parsed->trace_id.size() != 32 || parsed->parent_id.size() != 16) std::abort();
  const std::string again = "00-" + parsed->trace_id + "-" + parsed->parent_id + (parsed->sampled ? "-01" : "-00");
  const auto twice = switchyard::ParseTraceParent(again);
  if (!twice || twice->trace_id != parsed->trace_id || twice->parent_id != parsed->parent_id || twice->sampled != parsed->sampled)
    std::abort();
  if (header.substr(3, 49) != again.substr(3, 49)) std::abort();
  return 0;
}
