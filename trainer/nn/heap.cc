#include "trainer/nn/heap.h"

#include <malloc.h>

#include <limits>

namespace switchyard::trainer {

void KeepFreedMemory() {
  constexpr int kLargestThreshold = 4 * 1024 * 1024 * sizeof(long);  // glibc refuses a larger one
  mallopt(M_MMAP_THRESHOLD, kLargestThreshold);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
}

}  // namespace switchyard::trainer
