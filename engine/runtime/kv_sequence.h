// KvSequence: the blocks and slots of one run of tokens, from the prefix tree where it has them, freshly taken where it has not.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/runtime/kv_cache.h"
#include "engine/runtime/model_runner.h"

namespace switchyard {

// Used only on the engine thread. Holds its blocks until Release. Tokens are the caller's; the same list, grown at its end, goes into every
// call. A failed step is followed by Release: nothing of it was published.
class KvSequence {
 public:
  struct Options {
    const std::string* key = nullptr;  // of the prefix tree; must outlive the sequence. null: neither looks up nor publishes
    int32_t lookup_tokens = 0;         // only this many leading tokens may come from the tree: rows asked for must be computed
  };
  KvSequence(KvLease* lease, Options options) : lease_(lease), options_(options) {}
  ~KvSequence() { Release(); }
  KvSequence(const KvSequence&) = delete;
  KvSequence& operator=(const KvSequence&) = delete;

  // Tokens whose keys and values exist.
  int32_t length() const { return length_; }

  // Takes the next blocks from the tree as far as it has them. Returns the number of tokens gained.
  int32_t TakeCached(std::span<const TokenId> tokens);
  // Makes slots for `count` tokens after length(). INTERNAL as KvLease::Take.
  Status Prepare(int32_t count);
  // The slots of the first `count` tokens; valid until the next call that changes the sequence.
  std::span<const int32_t> slots(int32_t count) const { return std::span(slots_).first(count); }
  // A step that wrote `count` more tokens succeeded; full blocks go into the tree.
  void Commit(std::span<const TokenId> tokens, int32_t count);
  // Gives every block back; length() is 0 again.
  void Release(bool keep_promise = false);

 private:
  int32_t block_tokens() const { return lease_->cache()->block_tokens(); }
  void AppendSlots(int32_t block);
  std::span<const TokenId> TokensOfBlock(std::span<const TokenId> tokens, size_t index) const;

  KvLease* const lease_;
  const Options options_;
  std::vector<int32_t> blocks_;
  std::vector<int32_t> slots_;  // blocks_.size() * block_tokens
  size_t published_ = 0;        // leading blocks that are nodes of the tree
  int32_t length_ = 0;
};

}  // namespace switchyard
