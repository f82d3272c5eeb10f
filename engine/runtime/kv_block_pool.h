// KvBlockPool: which blocks of the KV pool are free, and how many holders every other block has.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace switchyard {

// Used only on the engine thread. Numbers only: the memory itself belongs to the model runner. Every call is O(1).
class KvBlockPool {
 public:
  explicit KvBlockPool(int32_t num_blocks);

  // A free block, now with one holder; nothing when none is free.
  std::optional<int32_t> Take();
  // REQUIRES: the block is held.
  void AddHolder(int32_t block) { ++holders_[block]; }
  // REQUIRES: the block is held. Returns how many holders are left; at 0 the block is free again.
  int32_t DropHolder(int32_t block);

  int32_t holders(int32_t block) const { return holders_[block]; }
  int32_t num_blocks() const { return static_cast<int32_t>(holders_.size()); }
  int32_t num_free() const { return static_cast<int32_t>(free_.size()); }

 private:
  std::vector<int32_t> holders_;  // [num_blocks]
  std::vector<int32_t> free_;     // a stack: the block freed last is taken first, its memory is still warm
};

}  // namespace switchyard
