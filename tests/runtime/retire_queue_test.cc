#include "engine/runtime/retire_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <thread>
#include <vector>

namespace switchyard {
namespace {

struct Watched {
  explicit Watched(std::atomic<int>* count) : count(count) {}
  ~Watched() {
    freed_on = std::this_thread::get_id();
    ++*count;
  }
  std::atomic<int>* count;
  static inline std::thread::id freed_on;
};

TEST(RetireQueueTest, FreesOnItsOwnThreadAndCounts) {
  RetireQueue queue;
  std::atomic<int> freed = 0;
  std::shared_ptr<const Watched> one = queue.Share(std::make_unique<Watched>(&freed), 100), same = one;
  one.reset();
  queue.Flush();
  EXPECT_EQ(freed, 0);  // `same` still owns it
  same.reset();
  queue.Flush();
  EXPECT_EQ(freed, 1);
  EXPECT_NE(Watched::freed_on, std::this_thread::get_id());
  EXPECT_EQ(queue.freed_objects(), 1u);
  EXPECT_EQ(queue.freed_bytes(), 100);
}

// A snapshot's end is the end of its parts.
TEST(RetireQueueTest, WhatIsFreedMayHandOverMore) {
  RetireQueue queue;
  std::atomic<int> freed = 0;
  struct Outer {
    std::shared_ptr<const Watched> inner;
  };
  auto outer = std::make_unique<Outer>();
  outer->inner = queue.Share(std::make_unique<Watched>(&freed), 7);
  std::shared_ptr<const Outer> shared = queue.Share(std::move(outer), 1);
  shared.reset();
  queue.Flush();
  EXPECT_EQ(freed, 1);
  EXPECT_EQ(queue.freed_bytes(), 8);
}

TEST(RetireQueueTest, ObjectsMayOutliveTheQueue) {
  std::atomic<int> freed = 0;
  std::shared_ptr<const Watched> late;
  {
    std::optional<RetireQueue> queue(std::in_place);
    late = queue->Share(std::make_unique<Watched>(&freed), 1);
    queue->Share(std::make_unique<Watched>(&freed), 1).reset();
  }
  EXPECT_EQ(freed, 1);
  late.reset();
  EXPECT_EQ(freed, 2);
}

TEST(RetireQueueTest, ManyOwnersOnManyThreads) {
  std::atomic<int> freed = 0;
  RetireQueue queue;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        std::shared_ptr<const Watched> a = queue.Share(std::make_unique<Watched>(&freed), 2);
        std::thread([b = a]() mutable { b.reset(); }).join();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  queue.Flush();
  EXPECT_EQ(freed, 800);
  EXPECT_EQ(queue.freed_bytes(), 1600);
}

}  // namespace
}  // namespace switchyard
