// KvCache: the block pool and the prefix tree together, and the promises made to running tasks (KvLease).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "engine/base/status.h"
#include "engine/runtime/kv_block_pool.h"
#include "engine/runtime/model_runner.h"
#include "engine/runtime/prefix_tree.h"

namespace switchyard {

// A block is free, held by sequences, or kept by the tree for later ("cached"): the tree counts as one holder of its nodes.
// Used only on the engine thread. Keeps no memory but the accounting.
class KvCache {
 public:
  explicit KvCache(const KvGeometry& geometry);

  int32_t block_tokens() const { return block_tokens_; }
  int32_t num_blocks() const { return pool_.num_blocks(); }
  int32_t blocks_used() const { return num_blocks() - pool_.num_free() - tree_.num_unused(); }
  int32_t blocks_cached() const { return tree_.num_unused(); }
  int32_t BlocksFor(int64_t tokens) const { return static_cast<int32_t>((tokens + block_tokens_ - 1) / block_tokens_); }
  // Blocks that no task holds and none was promised.
  int32_t unpromised() const { return pool_.num_free() + tree_.num_unused() - promised_; }

 private:
  friend class KvLease;

  std::optional<int32_t> Take();
  void Release(int32_t block);

  const int32_t block_tokens_;
  KvBlockPool pool_;
  PrefixTree tree_;
  int32_t promised_ = 0;  // blocks reserved by leases and not yet taken
};

// What one task may hold. A task reserves its worst case before its first row and can then always go on: no preemption, no deadlock.
// `cache` must outlive the lease, and the lease its sequences.
class KvLease {
 public:
  explicit KvLease(KvCache* cache) : cache_(cache) {}
  ~KvLease();
  KvLease(const KvLease&) = delete;
  KvLease& operator=(const KvLease&) = delete;

  // Promises that `total` blocks, those already held included, can be held. False, and nothing changed, when they do not fit now.
  [[nodiscard]] bool TryReserve(int32_t total);

  // A fresh block. INTERNAL when the reservation is used up: a mistake of the caller's arithmetic.
  StatusOr<int32_t> Take();
  // The tree's block with `tokens` after `parent`, now held too; nothing when there is none.
  std::optional<int32_t> TakeCached(const std::string& key, int32_t parent, std::span<const TokenId> tokens);
  // Puts a computed block, held by this lease, into the tree. Returns the block to use from now on: when the tree already has these tokens,
  // that is the tree's block, and `block` was released.
  int32_t Publish(const std::string& key, int32_t parent, std::span<const TokenId> tokens, int32_t block);
  // Gives a block back. `keep_promise`: the task may take another one in its place.
  void Release(int32_t block, bool keep_promise);

  KvCache* cache() const { return cache_; }
  int32_t held() const { return held_; }

 private:
  KvCache* const cache_;
  int32_t reserved_ = 0;  // 0 until TryReserve succeeds
  int32_t held_ = 0;
};

}  // namespace switchyard
