#include "trainer/nn/recycler.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <utility>

namespace switchyard::trainer {
namespace {

constexpr size_t kMiB = 1 << 20;

class RecyclerTest : public ::testing::Test {
 protected:
  RecyclerTest() { recycler_.Trim(); }
  ~RecyclerTest() override { recycler_.Trim(); }
  Recycler& recycler_ = Recycler::Get();
};

TEST_F(RecyclerTest, WhatWasFreedIsHandedOutAgainForSizesNearIt) {
  c10::DataPtr first = recycler_.allocate(4 * kMiB);
  void* const at = first.get();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(at) % 64, 0u);
  std::memset(at, 7, 4 * kMiB);
  EXPECT_EQ(recycler_.kept_bytes(), 0u);
  first.clear();
  EXPECT_GE(recycler_.kept_bytes(), 4 * kMiB);
  const c10::DataPtr second = recycler_.allocate(4 * kMiB + kMiB / 16);
  EXPECT_EQ(second.get(), at);
  EXPECT_EQ(recycler_.kept_bytes(), 0u);
}

// Steps of ever other shapes must not pile blocks up: no more is kept than an eighth of the most in use, and the slack.
TEST_F(RecyclerTest, OtherSizesTakeThePlaceOfWhatIsKept) {
  constexpr size_t kMost = 80 * kMiB;
  for (size_t mib = 1; mib <= 80; ++mib) {
    const c10::DataPtr block = recycler_.allocate(mib * kMiB);
    EXPECT_LE(recycler_.kept_bytes(), kMost / 8 * 33 / 32 + Recycler::kSlack) << mib;
  }
  for (size_t mib = 79; mib >= 1; --mib) {
    const c10::DataPtr block = recycler_.allocate(mib * kMiB);
    EXPECT_LE(mib * kMiB + recycler_.kept_bytes(), kMost * 9 / 8 * 33 / 32 + Recycler::kSlack) << mib;
  }
}

// What a step uses again and again stays, what was of use once goes.
TEST_F(RecyclerTest, TheOldestGoesFirst) {
  c10::DataPtr held = recycler_.allocate(64 * kMiB);
  recycler_.allocate(40 * kMiB).clear();  // with 64 MiB the most in use
  c10::DataPtr young = recycler_.allocate(4 * kMiB);
  void* const at = young.get();
  young.clear();
  const c10::DataPtr other = recycler_.allocate(28 * kMiB);
  EXPECT_LT(recycler_.kept_bytes(), 20 * kMiB);
  const c10::DataPtr again = recycler_.allocate(4 * kMiB);
  EXPECT_EQ(again.get(), at);
}

TEST_F(RecyclerTest, SmallOnesAndNothingAreNotKept) {
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{1000}, Recycler::kSmallest - 1}) {
    c10::DataPtr block = recycler_.allocate(bytes);
    EXPECT_EQ(block.get() == nullptr, bytes == 0);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(block.get()) % 64, 0u);
    if (bytes > 0) std::memset(block.get(), 1, bytes);
  }
  EXPECT_EQ(recycler_.kept_bytes(), 0u);
}

TEST_F(RecyclerTest, TrimGivesEverythingBack) {
  recycler_.allocate(3 * kMiB).clear();
  recycler_.allocate(kMiB).clear();
  EXPECT_GT(recycler_.kept_bytes(), 0u);
  recycler_.Trim();
  EXPECT_EQ(recycler_.kept_bytes(), 0u);
}

TEST_F(RecyclerTest, RawMemoryGoesTheSameWay) {
  void* raw = recycler_.raw_allocate(2 * kMiB);
  recycler_.raw_deallocate(raw);
  EXPECT_GE(recycler_.kept_bytes(), 2 * kMiB);
}

}  // namespace
}  // namespace switchyard::trainer
