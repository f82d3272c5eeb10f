#include "trainer/nn/recycler.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <new>

namespace switchyard::trainer {

namespace {

// Before the data, on a cache line of its own: the bytes of a mapped block, or 0.
constexpr size_t kHeader = 64;

size_t& SizeOf(void* block) { return *static_cast<size_t*>(block); }

// Up to the next 32nd of a power of two, whole pages.
size_t RoundUp(size_t bytes) {
  const size_t step = std::bit_floor(bytes) / 32;
  return (bytes + step - 1) / step * step;
}

}  // namespace

Recycler& Recycler::Get() {
  static auto* const recycler = new Recycler;
  return *recycler;
}

c10::DataPtr Recycler::allocate(size_t bytes) {
  const c10::Device device(c10::DeviceType::CPU);
  if (bytes == 0) return {nullptr, nullptr, &Free, device};
  void* block = nullptr;
  if (bytes < kSmallest) {
    if (posix_memalign(&block, kHeader, bytes + kHeader) != 0) throw std::bad_alloc();
    SizeOf(block) = 0;
  } else {
    block = Take(RoundUp(bytes + kHeader));
  }
  void* data = static_cast<char*>(block) + kHeader;
  return {data, data, &Free, device};
}

c10::DeleterFnPtr Recycler::raw_deleter() const { return &Free; }

void* Recycler::Take(size_t bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  used_bytes_ += bytes;
  most_used_bytes_ = std::max(most_used_bytes_, used_bytes_);
  if (const auto found = kept_.find(bytes); found != kept_.end()) {
    void* block = found->second.block;
    kept_.erase(found);
    kept_bytes_ -= bytes;
    return block;
  }
  while (!kept_.empty() && used_bytes_ + kept_bytes_ > most_used_bytes_ + most_used_bytes_ / 8 + kSlack) UnmapOldest();
  void* block = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED) {
    used_bytes_ -= bytes;
    throw std::bad_alloc();  // as LibTorch's own does
  }
  SizeOf(block) = bytes;
  return block;
}

void Recycler::UnmapOldest() {
  const auto oldest =
      std::min_element(kept_.begin(), kept_.end(), [](const auto& a, const auto& b) { return a.second.since < b.second.since; });
  munmap(oldest->second.block, oldest->first);
  kept_bytes_ -= oldest->first;
  kept_.erase(oldest);
}

void Recycler::Free(void* data) {
  if (data == nullptr) return;
  void* block = static_cast<char*>(data) - kHeader;
  const size_t bytes = SizeOf(block);
  if (bytes == 0) return std::free(block);
  Recycler& recycler = Get();
  std::lock_guard<std::mutex> lock(recycler.mutex_);
  recycler.kept_.emplace(bytes, Kept{block, recycler.frees_++});
  recycler.kept_bytes_ += bytes;
  recycler.used_bytes_ -= bytes;
}

void Recycler::Trim() {
  std::lock_guard<std::mutex> lock(mutex_);
  while (!kept_.empty()) UnmapOldest();
  most_used_bytes_ = used_bytes_;
}

size_t Recycler::kept_bytes() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return kept_bytes_;
}

}  // namespace switchyard::trainer
