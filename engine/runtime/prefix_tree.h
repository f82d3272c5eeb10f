// PrefixTree: which computed KV blocks hold which tokens, so that a later request with the same beginning need not compute it again.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/runtime/model_runner.h"

namespace switchyard {

// A tree of full blocks. A node is named by its block; its place is (parent block, token ids of the block). Every key - snapshot generation
// and routing policy - has a tree of its own, so keys and values computed under one are never read under another.
//
// Used only on the engine thread. A node is in use or unused; only unused leaves are evicted, the least recently used first. Whoever uses a
// node also uses its ancestors, so every unused node can be evicted sooner or later. Calls cost a hash of one block's tokens, or O(log n).
class PrefixTree {
 public:
  static constexpr int32_t kNoBlock = -1;

  explicit PrefixTree(int32_t num_blocks) : nodes_(num_blocks) {}

  // The block that holds `tokens` right after block `parent` (kNoBlock: at the beginning).
  std::optional<int32_t> Find(const std::string& key, int32_t parent, std::span<const TokenId> tokens) const;
  // Adds `block` as a node in use. REQUIRES: Find finds nothing, `parent` is a node of the same key or kNoBlock, `block` is no node yet.
  void Insert(const std::string& key, int32_t parent, std::span<const TokenId> tokens, int32_t block);

  bool Contains(int32_t block) const { return nodes_[block].place != nullptr; }
  // REQUIRES: Contains(block).
  void MarkInUse(int32_t block);
  void MarkUnused(int32_t block);  // counts as its last use
  // Removes the least recently used unused leaf and returns its block; nothing when every node is in use.
  std::optional<int32_t> Evict();

  int32_t num_nodes() const { return num_nodes_; }
  int32_t num_unused() const { return num_unused_; }
  size_t num_keys() const { return roots_.size(); }

 private:
  struct Place {
    int64_t parent;  // a block, or -1 - root id
    std::vector<TokenId> tokens;
    bool operator==(const Place&) const = default;
  };
  struct PlaceHash {
    size_t operator()(const Place& place) const;
  };
  struct Node {
    const Place* place = nullptr;      // into places_; null: the block is no node
    const std::string* key = nullptr;  // into roots_
    int32_t children = 0;
    bool in_use = false;
    uint64_t last_used = 0;
  };
  struct Root {
    int64_t id = 0;
    int32_t children = 0;
  };

  bool IsCandidate(const Node& node) const { return !node.in_use && node.children == 0; }
  void Detach(int32_t block);

  std::vector<Node> nodes_;                               // [num_blocks]
  std::unordered_map<Place, int32_t, PlaceHash> places_;  // to the block there
  std::unordered_map<std::string, Root> roots_;           // only keys that have nodes
  std::set<std::pair<uint64_t, int32_t>> candidates_;     // (last used, block) of unused leaves
  int64_t next_root_id_ = 0;
  uint64_t use_counter_ = 0;
  int32_t num_nodes_ = 0;
  int32_t num_unused_ = 0;
};

}  // namespace switchyard
