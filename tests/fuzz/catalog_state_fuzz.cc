// Any bytes as the server's desired state. What is accepted must be written back as a file that says the same.

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "engine/catalog/state_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto state = switchyard::ParseState({reinterpret_cast<const char*>(data), size}, "fuzz");
  if (!state.ok()) return 0;
  const std::string written = switchyard::StateText(*state);
  const auto again = switchyard::ParseState(written, "written");
  if (!again.ok() || switchyard::StateText(*again) != written) std::abort();
  return 0;
}
