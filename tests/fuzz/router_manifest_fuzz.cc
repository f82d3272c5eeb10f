// Any bytes as router.json, beside a whole router.safetensors. What is accepted must be consistent in itself.

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "engine/artifact/router_artifact.h"

namespace {

// One directory a process, removed at exit.
struct Directory {
  std::string path = (std::filesystem::temp_directory_path() / ("router_manifest_fuzz." + std::to_string(getpid()))).string();
  Directory() {
    std::filesystem::create_directories(path);
    if (!switchyard::WriteSafetensors(path + "/router.safetensors", {}, {}).ok()) std::abort();
  }
  ~Directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Directory directory;
  std::ofstream(directory.path + "/router.json", std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  const auto artifact = switchyard::ReadRouterArtifact(directory.path);
  if (!artifact.ok()) return 0;
  const switchyard::RouterManifest& m = artifact->manifest;
  if (m.experts.empty() || m.top_k < 1 || m.top_k > static_cast<int32_t>(m.experts.size()) || m.num_layers < 1) std::abort();
  return 0;
}
