// The pickle of a torch state dict, run by a machine that builds plain values and nothing else. Which globals exist, and what calling them
// gives, is fixed here: collections.OrderedDict (empty), torch._utils._rebuild_tensor_v2, torch._utils._rebuild_parameter and torch's typed
// storages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/artifact/tensor_view.h"
#include "engine/base/status.h"

namespace switchyard {

// A view into a storage, as the pickle describes it; nothing is checked against the storage's bytes here.
struct PickledTensor {
  std::string storage;  // its key: the entry data/KEY
  DType dtype = DType::kF32;
  int64_t storage_elements = 0;
  int64_t offset = 0;  // in elements, as are the strides
  std::vector<int64_t> shape, strides;
};

// The state dict in the order of the file. DATA_LOSS for a broken pickle, UNIMPLEMENTED for what is not on the lists; both name the byte.
// Linear in the pickle, in time and memory; no recursion. `name` stands for the path in messages.
StatusOr<std::vector<std::pair<std::string, PickledTensor>>> ReadPickledStateDict(std::span<const std::byte> pickle,
                                                                                  const std::string& name);

}  // namespace switchyard
