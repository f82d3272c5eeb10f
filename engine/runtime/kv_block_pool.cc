#include "engine/runtime/kv_block_pool.h"

namespace switchyard {

KvBlockPool::KvBlockPool(int32_t num_blocks) : holders_(num_blocks, 0), free_(num_blocks) {
  for (int32_t i = 0; i < num_blocks; ++i) free_[i] = num_blocks - 1 - i;
}

std::optional<int32_t> KvBlockPool::Take() {
  if (free_.empty()) return std::nullopt;
  const int32_t block = free_.back();
  free_.pop_back();
  holders_[block] = 1;
  return block;
}

int32_t KvBlockPool::DropHolder(int32_t block) {
  const int32_t left = --holders_[block];
  if (left == 0) free_.push_back(block);
  return left;
}

}  // namespace switchyard
