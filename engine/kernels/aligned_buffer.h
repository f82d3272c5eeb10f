// Scratch memory on a cache line boundary that grows and is never shrunk. Contents are undefined after Resize. Thread-compatible; private to this room.
#pragma once

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
    bytes_ = (bytes + kLine - 1) / kLine * kLine;
    data_ = std::aligned_alloc(kLine, bytes_);
    if (data_ == nullptr) throw std::bad_alloc();
    return data_;
  }
  void* data() const { return data_; }

 private:
  static constexpr size_t kLine = 64;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace switchyard::kernels
