#include "engine/runtime/kv_cache.h"

namespace switchyard {

KvCache::KvCache(const KvGeometry& geometry)
    : block_tokens_(geometry.block_tokens), pool_(geometry.num_blocks), tree_(geometry.num_blocks) {}

std::optional<int32_t> KvCache::Take() {
  if (pool_.num_free() == 0) {
    if (const auto evicted = tree_.Evict()) pool_.DropHolder(*evicted);
  }
  return pool_.Take();
}

void KvCache::Release(int32_t block) {
  if (pool_.DropHolder(block) == 1 && tree_.Contains(block)) tree_.MarkUnused(block);
}

KvLease::~KvLease() { cache_->promised_ -= reserved_ > held_ ? reserved_ - held_ : 0; }

bool KvLease::TryReserve(int32_t total) {
  const int32_t missing = total > held_ ? total - held_ : 0;
  if (missing > cache_->unpromised()) return false;
  reserved_ = held_ + missing;
  cache_->promised_ += missing;
  return true;
}

StatusOr<int32_t> KvLease::Take() {
  if (held_ >= reserved_) return Internal("KV accounting: a task holds all of its %d reserved blocks and wants one more", reserved_);
  const auto block = cache_->Take();
  if (!block) return Internal("KV accounting: no block is left although %d are promised", cache_->promised_);
  ++held_;
  --cache_->promised_;
  return *block;
}

std::optional<int32_t> KvLease::TakeCached(const std::string& key, int32_t parent, std::span<const TokenId> tokens) {
  const auto block = cache_->tree_.Find(key, parent, tokens);
  if (!block) return std::nullopt;
  cache_->pool_.AddHolder(*block);
  cache_->tree_.MarkInUse(*block);
  ++held_;
  if (reserved_ > 0) --cache_->promised_;
  return block;
}

int32_t KvLease::Publish(const std::string& key, int32_t parent, std::span<const TokenId> tokens, int32_t block) {
  if (const auto existing = cache_->tree_.Find(key, parent, tokens)) {
    cache_->pool_.AddHolder(*existing);
    cache_->tree_.MarkInUse(*existing);
    cache_->Release(block);
    return *existing;
  }
  cache_->tree_.Insert(key, parent, tokens, block);
  cache_->pool_.AddHolder(block);
  return block;
}

void KvLease::Release(int32_t block, bool keep_promise) {
  cache_->Release(block);
  --held_;
  if (reserved_ == 0) return;
  if (keep_promise) {
    ++cache_->promised_;
  } else {
    --reserved_;
  }
}

}  // namespace switchyard
