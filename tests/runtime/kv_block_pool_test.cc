#include "engine/runtime/kv_block_pool.h"

#include <gtest/gtest.h>

#include <set>

namespace switchyard {
namespace {

TEST(KvBlockPool, HandsOutEveryBlockOnce) {
  KvBlockPool pool(3);
  std::set<int32_t> blocks;
  for (int i = 0; i < 3; ++i) blocks.insert(*pool.Take());
  EXPECT_EQ(blocks, (std::set<int32_t>{0, 1, 2}));
  EXPECT_FALSE(pool.Take().has_value());
  EXPECT_EQ(pool.num_free(), 0);
}

TEST(KvBlockPool, ABlockIsFreeWhenItsLastHolderDropsIt) {
  KvBlockPool pool(1);
  const int32_t block = *pool.Take();
  pool.AddHolder(block);
  EXPECT_EQ(pool.holders(block), 2);
  EXPECT_EQ(pool.DropHolder(block), 1);
  EXPECT_FALSE(pool.Take().has_value());
  EXPECT_EQ(pool.DropHolder(block), 0);
  EXPECT_EQ(pool.Take(), block);
}

}  // namespace
}  // namespace switchyard
