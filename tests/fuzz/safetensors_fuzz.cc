// Any bytes as a safetensors file. What is accepted must have tensors of exactly the bytes their shapes ask for, none twice.

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

#include "engine/artifact/finite.h"
#include "engine/artifact/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace switchyard;
  const auto file = SafetensorsFile::Parse(std::make_shared<const std::string>(reinterpret_cast<const char*>(data), size), "fuzz");
  if (!file.ok()) return 0;
  size_t covered = 0;
  for (const auto& [name, view] : (*file)->tensors()) {
    if (static_cast<uint64_t>(view.elements()) * DTypeBytes(view.dtype) != view.data.size()) std::abort();
    covered += view.data.size();
    FirstNonFinite(view);
    AllZero(view);
  }
  if (covered > size) std::abort();
  return 0;
}
