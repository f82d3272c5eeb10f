#include "engine/base/bounded_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace switchyard {
namespace {

using Queue = BoundedQueue<std::unique_ptr<int>>;

TEST(BoundedQueue, KeepsOrderAndRefusesWhenFull) {
  Queue queue(2);
  EXPECT_EQ(queue.TryPush(std::make_unique<int>(1)), Queue::Push::kAccepted);
  EXPECT_EQ(queue.TryPush(std::make_unique<int>(2)), Queue::Push::kAccepted);
  auto third = std::make_unique<int>(3);
  EXPECT_EQ(queue.TryPush(std::move(third)), Queue::Push::kFull);
  ASSERT_NE(third, nullptr);  // a refused item stays with the caller
  EXPECT_EQ(queue.size(), 2u);
  EXPECT_EQ(**queue.Pop(), 1);
  EXPECT_EQ(queue.TryPush(std::move(third)), Queue::Push::kAccepted);
  EXPECT_EQ(**queue.Pop(), 2);
  EXPECT_EQ(**queue.Pop(), 3);
}

TEST(BoundedQueue, CloseLetsConsumersFinish) {
  Queue queue(2);
  EXPECT_EQ(queue.TryPush(std::make_unique<int>(1)), Queue::Push::kAccepted);
  queue.Close();
  EXPECT_EQ(queue.TryPush(std::make_unique<int>(2)), Queue::Push::kClosed);
  EXPECT_EQ(**queue.Pop(), 1);
  EXPECT_FALSE(queue.Pop().has_value());
}

TEST(BoundedQueue, CloseWakesWaitingConsumers) {
  Queue queue(2);
  std::thread consumer([&] { EXPECT_FALSE(queue.Pop().has_value()); });
  queue.Close();
  consumer.join();
}

TEST(BoundedQueue, PopUntilGivesUpAtItsDeadline) {
  Queue queue(1);
  EXPECT_FALSE(queue.PopUntil(std::chrono::steady_clock::now()).has_value());
  EXPECT_EQ(queue.TryPush(std::make_unique<int>(4)), Queue::Push::kAccepted);
  EXPECT_EQ(**queue.PopUntil(std::chrono::steady_clock::now()), 4);
}

TEST(BoundedQueue, EveryAcceptedItemArrivesOnce) {
  constexpr int kProducers = 4;
  constexpr int kEach = 500;
  BoundedQueue<int> queue(8);
  std::vector<std::atomic<int>> arrived(kProducers * kEach);
  std::vector<std::thread> consumers;
  for (int c = 0; c < 3; ++c) {
    consumers.emplace_back([&] {
      while (const auto item = queue.Pop()) ++arrived[*item];
    });
  }
  std::vector<std::thread> producers;
  for (int p = 0; p < kProducers; ++p) {
    producers.emplace_back([&, p] {
      for (int i = 0; i < kEach; ++i) {
        while (queue.TryPush(p * kEach + i) != BoundedQueue<int>::Push::kAccepted) std::this_thread::yield();
      }
    });
  }
  for (auto& producer : producers) producer.join();
  queue.Close();
  for (auto& consumer : consumers) consumer.join();
  for (const auto& count : arrived) EXPECT_EQ(count, 1);
}

}  // namespace
}  // namespace switchyard
