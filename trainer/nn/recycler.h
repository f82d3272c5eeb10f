// LibTorch's memory as training wants it: a step allocates what the step before freed.
#pragma once

#include <c10/core/Allocator.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>

namespace switchyard::trainer {

// Blocks from kSmallest bytes on are mapped, kept when freed and handed out again for sizes that round up to theirs (by at most a 32nd):
// a step's large tensors are not mapped, zeroed by the kernel and unmapped again and again, nor do they leave holes in the C library's heap.
// All blocks together take at most an eighth (and kSlack) more than the most that was in use at once: a size that is not there first sends
// back to the system what was freed longest ago. Smaller ones are the C library's. Thread-safe.
class Recycler final : public c10::Allocator {
 public:
  static constexpr size_t kSmallest = size_t{1} << 17, kSlack = size_t{1} << 24;

  // Never destroyed: tensors may outlive every other object.
  static Recycler& Get();

  c10::DataPtr allocate(size_t bytes) override;
  c10::DeleterFnPtr raw_deleter() const override;
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }

  // All that is kept goes back to the system.
  void Trim();
  size_t kept_bytes() const;

 private:
  struct Kept {
    void* block;
    uint64_t since;
  };

  static void Free(void* data);
  void* Take(size_t bytes);
  void UnmapOldest();

  mutable std::mutex mutex_;
  std::multimap<size_t, Kept> kept_;  // by whole size, header included
  size_t kept_bytes_ = 0, used_bytes_ = 0, most_used_bytes_ = 0;
  uint64_t frees_ = 0;
};

}  // namespace switchyard::trainer
