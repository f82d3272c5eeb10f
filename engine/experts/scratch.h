// Uninitialised memory on a cache line that lives from call to call and only grows. Private to this room.
#pragma once

#include <cstdint>

#include "engine/kernels/aligned_buffer.h"

namespace switchyard {

class Scratch {
 public:
  // Valid until the next call.
  float* Floats(int64_t count) { return static_cast<float*>(Bytes(count * static_cast<int64_t>(sizeof(float)))); }
  void* Bytes(int64_t count) { return data_.Resize(static_cast<size_t>(count > 0 ? count : 1)); }

 private:
  kernels::AlignedBuffer data_;
};

}  // namespace switchyard
