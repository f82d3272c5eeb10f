#include "engine/runtime/prefix_tree.h"

#include <gtest/gtest.h>

namespace switchyard {
namespace {

constexpr int32_t kRoot = PrefixTree::kNoBlock;
using Tokens = std::vector<TokenId>;

TEST(PrefixTree, FindsByParentTokensAndKey) {
  PrefixTree tree(8);
  tree.Insert("a", kRoot, Tokens{1, 2}, 5);
  tree.Insert("a", 5, Tokens{3, 4}, 6);
  EXPECT_EQ(tree.Find("a", kRoot, Tokens{1, 2}), 5);
  EXPECT_EQ(tree.Find("a", 5, Tokens{3, 4}), 6);
  EXPECT_FALSE(tree.Find("a", kRoot, Tokens{3, 4}).has_value());
  EXPECT_FALSE(tree.Find("a", 5, Tokens{3, 5}).has_value());
  EXPECT_FALSE(tree.Find("b", kRoot, Tokens{1, 2}).has_value());
}

TEST(PrefixTree, KeysHaveTreesOfTheirOwn) {
  PrefixTree tree(8);
  tree.Insert("a", kRoot, Tokens{1, 2}, 0);
  tree.Insert("b", kRoot, Tokens{1, 2}, 1);
  EXPECT_EQ(tree.Find("a", kRoot, Tokens{1, 2}), 0);
  EXPECT_EQ(tree.Find("b", kRoot, Tokens{1, 2}), 1);
}

TEST(PrefixTree, EvictsUnusedLeavesLeastRecentlyUsedFirst) {
  PrefixTree tree(8);
  tree.Insert("a", kRoot, Tokens{1}, 0);
  tree.Insert("a", 0, Tokens{2}, 1);
  tree.Insert("a", 0, Tokens{3}, 2);
  EXPECT_FALSE(tree.Evict().has_value());  // all in use
  tree.MarkUnused(2);
  tree.MarkUnused(1);
  tree.MarkUnused(0);
  EXPECT_EQ(tree.num_unused(), 3);
  EXPECT_EQ(tree.Evict(), 2);
  EXPECT_EQ(tree.Evict(), 1);
  EXPECT_EQ(tree.Evict(), 0);  // a leaf only now
  EXPECT_FALSE(tree.Evict().has_value());
  EXPECT_EQ(tree.num_nodes(), 0);
  EXPECT_EQ(tree.num_unused(), 0);
}

TEST(PrefixTree, UsingANodeAgainSavesIt) {
  PrefixTree tree(8);
  tree.Insert("a", kRoot, Tokens{1}, 0);
  tree.Insert("a", kRoot, Tokens{2}, 1);
  tree.MarkUnused(0);
  tree.MarkUnused(1);
  tree.MarkInUse(0);
  EXPECT_EQ(tree.Evict(), 1);
  EXPECT_FALSE(tree.Evict().has_value());
  tree.MarkUnused(0);
  EXPECT_EQ(tree.Evict(), 0);
}

TEST(PrefixTree, AParentOfAUsedChildStays) {
  PrefixTree tree(8);
  tree.Insert("a", kRoot, Tokens{1}, 0);
  tree.Insert("a", 0, Tokens{2}, 1);
  tree.MarkUnused(0);
  EXPECT_FALSE(tree.Evict().has_value());
}

TEST(PrefixTree, ForgetsKeysWithTheirLastNode) {
  PrefixTree tree(8);
  for (int i = 0; i < 100; ++i) {
    tree.Insert(std::to_string(i), kRoot, Tokens{1}, 3);
    tree.MarkUnused(3);
    EXPECT_EQ(tree.Evict(), 3);
  }
  EXPECT_EQ(tree.num_keys(), 0u);
  EXPECT_FALSE(tree.Contains(3));
}

}  // namespace
}  // namespace switchyard
