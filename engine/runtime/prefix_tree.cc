#include "engine/runtime/prefix_tree.h"

namespace switchyard {

size_t PrefixTree::PlaceHash::operator()(const Place& place) const {
  uint64_t hash = 0x9e3779b97f4a7c15ull ^ static_cast<uint64_t>(place.parent);
  for (const TokenId token : place.tokens) {
    hash ^= static_cast<uint32_t>(token);
    hash *= 0xff51afd7ed558ccdull;
    hash ^= hash >> 32;
  }
  return hash;
}

std::optional<int32_t> PrefixTree::Find(const std::string& key, int32_t parent, std::span<const TokenId> tokens) const {
  int64_t above = parent;
  if (parent == kNoBlock) {
    const auto root = roots_.find(key);
    if (root == roots_.end()) return std::nullopt;
    above = -1 - root->second.id;
  }
  const auto found = places_.find(Place{above, {tokens.begin(), tokens.end()}});
  if (found == places_.end()) return std::nullopt;
  return found->second;
}

void PrefixTree::Insert(const std::string& key, int32_t parent, std::span<const TokenId> tokens, int32_t block) {
  const auto [root, is_new] = roots_.try_emplace(key);
  if (is_new) root->second.id = next_root_id_++;
  int64_t above = parent;
  if (parent == kNoBlock) {
    above = -1 - root->second.id;
    ++root->second.children;
  } else {
    Node& parent_node = nodes_[parent];
    if (IsCandidate(parent_node)) candidates_.erase({parent_node.last_used, parent});
    ++parent_node.children;
  }
  const auto place = places_.emplace(Place{above, {tokens.begin(), tokens.end()}}, block).first;
  nodes_[block] = Node{.place = &place->first, .key = &root->first, .children = 0, .in_use = true, .last_used = ++use_counter_};
  ++num_nodes_;
}

void PrefixTree::MarkInUse(int32_t block) {
  Node& node = nodes_[block];
  if (node.in_use) return;
  if (node.children == 0) candidates_.erase({node.last_used, block});
  node.in_use = true;
  --num_unused_;
}

void PrefixTree::MarkUnused(int32_t block) {
  Node& node = nodes_[block];
  if (!node.in_use) return;
  node.in_use = false;
  node.last_used = ++use_counter_;
  ++num_unused_;
  if (node.children == 0) candidates_.insert({node.last_used, block});
}

std::optional<int32_t> PrefixTree::Evict() {
  if (candidates_.empty()) return std::nullopt;
  const int32_t block = candidates_.begin()->second;
  candidates_.erase(candidates_.begin());
  Detach(block);
  return block;
}

// Takes an unused leaf out; its parent may become a leaf by that.
void PrefixTree::Detach(int32_t block) {
  Node& node = nodes_[block];
  const int64_t above = node.place->parent;
  if (above >= 0) {
    Node& parent = nodes_[above];
    --parent.children;
    if (IsCandidate(parent)) candidates_.insert({parent.last_used, static_cast<int32_t>(above)});
  } else if (const auto root = roots_.find(*node.key); --root->second.children == 0) {
    roots_.erase(root);
  }
  places_.erase(places_.find(*node.place));
  node = Node{};
  --num_nodes_;
  --num_unused_;
}

}  // namespace switchyard
