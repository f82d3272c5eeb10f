// Memory on a cache line boundary that grows and is never shrunk; on huge pages, if the system grants them, when it is large. Contents are
// undefined after Resize. Thread-compatible.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <new>

namespace switchyard::kernels {

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  ~AlignedBuffer() { std::free(data_); }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;

  void* Resize(size_t bytes) {
    if (bytes <= bytes_) return data_;
    std::free(data_);
    const size_t alignment = bytes >= kLarge ? kHugePage : kLine;
    bytes_ = (bytes + alignment - 1) / alignment * alignment;
    data_ = std::aligned_alloc(alignment, bytes_);
    if (data_ == nullptr) throw std::bad_alloc();
    // Only a wish: without huge pages everything works, with more misses of the translation cache.
    if (alignment == kHugePage) static_cast<void>(madvise(data_, bytes_, MADV_HUGEPAGE));
    return data_;
  }
  void* data() const { return data_; }

 private:
  static constexpr size_t kLine = 64, kHugePage = 2 << 20, kLarge = 8 << 20;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace switchyard::kernels
