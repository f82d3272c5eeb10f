#include "trainer/nn/heap.h"

#include <c10/core/CPUAllocator.h>
#include <malloc.h>

#include <limits>

#include "trainer/nn/recycler.h"

namespace switchyard::trainer {

void KeepFreedMemory() {
  constexpr int kLargestThreshold = 4 * 1024 * 1024 * sizeof(long);  // glibc refuses a larger one
  mallopt(M_MMAP_THRESHOLD, kLargestThreshold);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  c10::SetCPUAllocator(&Recycler::Get(), /*priority=*/1);
}

void ReleaseFreedMemory() {
  Recycler::Get().Trim();
  malloc_trim(0);
}

}  // namespace switchyard::trainer
