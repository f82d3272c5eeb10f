#include "engine/runtime/kv_sequence.h"

namespace switchyard {

int32_t KvSequence::TakeCached(std::span<const TokenId> tokens) {
  if (options_.key == nullptr) return 0;
  const int32_t before = length_;
  // Only a sequence that lies in the tree as a whole can go on in it.
  while (length_ == static_cast<int32_t>(published_) * block_tokens() && blocks_.size() == published_ &&
         length_ + block_tokens() <= options_.lookup_tokens) {
    const int32_t parent = blocks_.empty() ? PrefixTree::kNoBlock : blocks_.back();
    const auto block = lease_->TakeCached(*options_.key, parent, TokensOfBlock(tokens, published_));
    if (!block) break;
    AppendSlots(*block);
    ++published_;
    length_ += block_tokens();
  }
  return length_ - before;
}

Status KvSequence::Prepare(int32_t count) {
  while (static_cast<int32_t>(slots_.size()) < length_ + count) {
    ASSIGN_OR_RETURN(const int32_t block, lease_->Take());
    AppendSlots(block);
  }
  return OkStatus();
}

void KvSequence::Commit(std::span<const TokenId> tokens, int32_t count) {
  length_ += count;
  if (options_.key == nullptr) return;
  while (static_cast<int32_t>(published_ + 1) * block_tokens() <= length_) {
    const int32_t parent = published_ == 0 ? PrefixTree::kNoBlock : blocks_[published_ - 1];
    const int32_t block = lease_->Publish(*options_.key, parent, TokensOfBlock(tokens, published_), blocks_[published_]);
    blocks_[published_] = block;
    for (int32_t i = 0; i < block_tokens(); ++i) slots_[published_ * block_tokens() + i] = block * block_tokens() + i;
    ++published_;
  }
}

void KvSequence::Release(bool keep_promise) {
  // Last block first: the tree evicts the oldest use first, and ends of sequences are worth less than their beginnings.
  for (auto block = blocks_.rbegin(); block != blocks_.rend(); ++block) lease_->Release(*block, keep_promise);
  blocks_.clear();
  slots_.clear();
  published_ = 0;
  length_ = 0;
}

void KvSequence::AppendSlots(int32_t block) {
  blocks_.push_back(block);
  for (int32_t i = 0; i < block_tokens(); ++i) slots_.push_back(block * block_tokens() + i);
}

std::span<const TokenId> KvSequence::TokensOfBlock(std::span<const TokenId> tokens, size_t index) const {
  return tokens.subspan(index * block_tokens(), block_tokens());
}

}  // namespace switchyard
