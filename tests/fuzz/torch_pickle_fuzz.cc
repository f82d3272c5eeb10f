// Any bytes as a file of torch.save, and the same bytes as the pickle inside one: a flipped byte of a whole file mostly breaks the archive
// around it. What is accepted must have tensors of exactly the bytes their shapes ask for.

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>

#include "engine/artifact/finite.h"
#include "engine/artifact/pickle_machine.h"
#include "engine/artifact/torch_pickle.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace switchyard;
  const auto pickled = ReadPickledStateDict(std::as_bytes(std::span(data, size)), "fuzz");
  if (pickled.ok()) {
    for (const auto& [name, tensor] : *pickled) {
      if (tensor.shape.size() != tensor.strides.size() || tensor.offset < 0 || tensor.storage.empty()) std::abort();
    }
  }
  const auto file = TorchPickleFile::Parse(std::make_shared<const std::string>(reinterpret_cast<const char*>(data), size), "fuzz");
  if (!file.ok()) return 0;
  for (const auto& [name, view] : (*file)->tensors()) {
    if (static_cast<uint64_t>(view.elements()) * DTypeBytes(view.dtype) != view.data.size()) std::abort();
    FirstNonFinite(view);
    AllZero(view);
  }
  return 0;
}
