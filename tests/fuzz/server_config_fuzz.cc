// Any bytes as the server's configuration file. What is accepted must be written back as a file that says the same.

#include <cstdint>
#include <cstdlib>
#include <string>

#include "server/server_options.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  switchyard::ServerOptions options;
  if (!switchyard::ApplyConfig(std::string(reinterpret_cast<const char*>(data), size), "fuzz", &options).ok()) return 0;
  (void)switchyard::ValidateOptions(options).ok();
  const std::string written = switchyard::ConfigJson(options);
  switchyard::ServerOptions again;
  if (!switchyard::ApplyConfig(written, "written", &again).ok() || switchyard::ConfigJson(again) != written) std::abort();
  return 0;
}
