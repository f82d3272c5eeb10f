#include "engine/runtime/kv_cache.h"

#include <gtest/gtest.h>

#include "engine/runtime/kv_sequence.h"

namespace switchyard {
namespace {

const std::string kKey = "generation|learned";

class KvCacheTest : public ::testing::Test {
 protected:
  static std::vector<TokenId> TokensFrom(TokenId first, int32_t count) {
    std::vector<TokenId> tokens(count);
    for (int32_t i = 0; i < count; ++i) tokens[i] = first + i;
    return tokens;
  }
  // Computes `tokens` as one task would and ends it; its full blocks stay in the tree.
  void ComputeAndFinish(const std::vector<TokenId>& tokens) {
    KvLease lease(&cache_);
    ASSERT_TRUE(lease.TryReserve(cache_.BlocksFor(static_cast<int64_t>(tokens.size()))));
    KvSequence sequence(&lease, {.key = &kKey, .lookup_tokens = static_cast<int32_t>(tokens.size())});
    sequence.TakeCached(tokens);
    const int32_t rest = static_cast<int32_t>(tokens.size()) - sequence.length();
    ASSERT_TRUE(sequence.Prepare(rest).ok());
    sequence.Commit(tokens, rest);
  }

  KvCache cache_{{.block_tokens = 4, .num_blocks = 6, .bytes_per_token = 1}};
};

TEST_F(KvCacheTest, AReservationThatDoesNotFitChangesNothing) {
  KvLease first(&cache_);
  KvLease second(&cache_);
  EXPECT_TRUE(first.TryReserve(4));
  EXPECT_FALSE(second.TryReserve(3));
  EXPECT_EQ(cache_.unpromised(), 2);
  EXPECT_TRUE(second.TryReserve(2));
  EXPECT_EQ(cache_.unpromised(), 0);
}

TEST_F(KvCacheTest, AnEndedLeaseGivesItsPromiseBack) {
  {
    KvLease lease(&cache_);
    ASSERT_TRUE(lease.TryReserve(6));
    const int32_t block = *lease.Take();
    EXPECT_EQ(cache_.blocks_used(), 1);
    lease.Release(block, /*keep_promise=*/true);
  }
  EXPECT_EQ(cache_.unpromised(), 6);
  EXPECT_EQ(cache_.blocks_used(), 0);
}

TEST_F(KvCacheTest, MoreThanReservedIsRefused) {
  KvLease lease(&cache_);
  ASSERT_TRUE(lease.TryReserve(1));
  const int32_t block = *lease.Take();
  EXPECT_EQ(lease.Take().status().code(), absl::StatusCode::kInternal);
  lease.Release(block, false);
  EXPECT_EQ(lease.Take().status().code(), absl::StatusCode::kInternal);  // the promise was given back
}

TEST_F(KvCacheTest, CachedBlocksCountAsRoomAndAreEvictedOnDemand) {
  ComputeAndFinish(TokensFrom(0, 24));
  EXPECT_EQ(cache_.blocks_cached(), 6);
  EXPECT_EQ(cache_.blocks_used(), 0);
  EXPECT_EQ(cache_.unpromised(), 6);
  ComputeAndFinish(TokensFrom(100, 12));
  EXPECT_EQ(cache_.blocks_cached(), 6);
  // The beginning of the first is still there, its end is not.
  KvLease lease(&cache_);
  KvSequence sequence(&lease, {.key = &kKey, .lookup_tokens = 24});
  EXPECT_EQ(sequence.TakeCached(TokensFrom(0, 24)), 12);
}

TEST_F(KvCacheTest, SlotsFollowTheBlocks) {
  KvLease lease(&cache_);
  ASSERT_TRUE(lease.TryReserve(2));
  KvSequence sequence(&lease, {});
  ASSERT_TRUE(sequence.Prepare(3).ok());
  sequence.Commit(TokensFrom(0, 3), 3);
  ASSERT_TRUE(sequence.Prepare(3).ok());
  const auto slots = sequence.slots(6);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(slots[i] % 4, i % 4);
  EXPECT_EQ(slots[0] / 4, slots[3] / 4);
  EXPECT_NE(slots[3] / 4, slots[4] / 4);
}

TEST_F(KvCacheTest, LookupStopsAtItsLimit) {
  ComputeAndFinish(TokensFrom(0, 12));
  KvLease lease(&cache_);
  KvSequence sequence(&lease, {.key = &kKey, .lookup_tokens = 11});  // the 12th token's row is asked for
  EXPECT_EQ(sequence.TakeCached(TokensFrom(0, 12)), 8);
  EXPECT_EQ(sequence.length(), 8);
}

TEST_F(KvCacheTest, TwoThatComputeTheSameEndUpSharing) {
  const auto tokens = TokensFrom(0, 8);
  KvLease lease_a(&cache_);
  KvLease lease_b(&cache_);
  ASSERT_TRUE(lease_a.TryReserve(3));
  ASSERT_TRUE(lease_b.TryReserve(3));
  KvSequence a(&lease_a, {.key = &kKey, .lookup_tokens = 8});
  KvSequence b(&lease_b, {.key = &kKey, .lookup_tokens = 8});
  ASSERT_TRUE(a.Prepare(8).ok());
  ASSERT_TRUE(b.Prepare(8).ok());
  EXPECT_EQ(cache_.blocks_used(), 4);
  a.Commit(tokens, 8);
  b.Commit(tokens, 8);
  EXPECT_EQ(cache_.blocks_used(), 2);
  EXPECT_TRUE(std::equal(a.slots(8).begin(), a.slots(8).end(), b.slots(8).begin()));
  a.Release();
  EXPECT_EQ(cache_.blocks_used(), 2);  // b still holds them
  b.Release();
  EXPECT_EQ(cache_.blocks_used(), 0);
  EXPECT_EQ(cache_.blocks_cached(), 2);
}

TEST_F(KvCacheTest, UncommittedBlocksNeverReachTheTree) {
  {
    KvLease lease(&cache_);
    ASSERT_TRUE(lease.TryReserve(2));
    KvSequence sequence(&lease, {.key = &kKey, .lookup_tokens = 8});
    ASSERT_TRUE(sequence.Prepare(8).ok());
  }
  EXPECT_EQ(cache_.blocks_cached(), 0);
  EXPECT_EQ(cache_.blocks_used(), 0);
}

}  // namespace
}  // namespace switchyard
