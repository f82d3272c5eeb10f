#include "server/worker_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <string>

namespace switchyard {
namespace {

TEST(WorkerPool, RefusesNewWorkWhenItsQueueIsFull) {
  std::latch started(1), go(1);
  WorkerPool pool(1, 2, 100);
  ASSERT_TRUE(pool.TryPost(1, [&] {
    started.count_down();
    go.wait();
  }));
  started.wait();
  EXPECT_TRUE(pool.TryPost(1, [] {}));
  EXPECT_TRUE(pool.TryPost(1, [] {}));
  EXPECT_FALSE(pool.TryPost(1, [] {}));
  go.count_down();
}

TEST(WorkerPool, RefusesNewWorkThatHoldsTooManyBytes) {
  std::latch started(1), go(1);
  WorkerPool pool(1, 100, 10);
  ASSERT_TRUE(pool.TryPost(10, [&] {
    started.count_down();
    go.wait();
  }));
  started.wait();                        // what runs no longer waits
  EXPECT_TRUE(pool.TryPost(50, [] {}));  // alone, any size
  EXPECT_FALSE(pool.TryPost(1, [] {}));
  EXPECT_TRUE(pool.TryPost(0, [] {}));
  go.count_down();
}

TEST(WorkerPool, CountsAgainOnlyWhatStillWaits) {
  std::latch running(1), started(1), first(1), second(1);
  WorkerPool pool(1, 100, 10);
  ASSERT_TRUE(pool.TryPost(1, [&] {
    running.count_down();
    first.wait();
  }));
  running.wait();
  ASSERT_TRUE(pool.TryPost(6, [&] {
    started.count_down();
    second.wait();
  }));
  EXPECT_FALSE(pool.TryPost(5, [] {}));
  EXPECT_TRUE(pool.TryPost(4, [] {}));
  first.count_down();
  started.wait();  // six bytes have left the queue
  EXPECT_TRUE(pool.TryPost(6, [] {}));
  EXPECT_FALSE(pool.TryPost(1, [] {}));
  second.count_down();
}

TEST(WorkerPool, FinishesAdmittedWorkBeforeItStartsNewWork) {
  std::latch started(1), go(1);
  std::string order;
  {
    WorkerPool pool(1, 8, 100);
    ASSERT_TRUE(pool.TryPost(1, [&] {
      started.count_down();
      go.wait();
    }));
    started.wait();
    ASSERT_TRUE(pool.TryPost(1, [&] { order += "n"; }));
    pool.Post([&] { order += "a"; });
    pool.Post([&] { order += "b"; });
    go.count_down();
  }
  EXPECT_EQ(order, "abn");
}

TEST(WorkerPool, RunsEverythingThatWasAcceptedBeforeItEnds) {
  std::atomic<int> done = 0;
  int accepted = 0;
  {
    WorkerPool pool(3, 1000, 1000);
    for (int i = 0; i < 500; ++i) accepted += pool.TryPost(1, [&] { ++done; });
  }
  EXPECT_EQ(accepted, 500);
  EXPECT_EQ(done, 500);
}

}  // namespace
}  // namespace switchyard
