#include "server/worker_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <string>

namespace switchyard {
namespace {

TEST(WorkerPool, RefusesNewWorkWhenItsQueueIsFull) {
  std::latch started(1), go(1);
  WorkerPool pool(1, 2);
  ASSERT_TRUE(pool.TryPost([&] {
    started.count_down();
    go.wait();
  }));
  started.wait();
  EXPECT_TRUE(pool.TryPost([] {}));
  EXPECT_TRUE(pool.TryPost([] {}));
  EXPECT_FALSE(pool.TryPost([] {}));
  go.count_down();
}

TEST(WorkerPool, FinishesAdmittedWorkBeforeItStartsNewWork) {
  std::latch started(1), go(1);
  std::string order;
  {
    WorkerPool pool(1, 8);
    ASSERT_TRUE(pool.TryPost([&] {
      started.count_down();
      go.wait();
    }));
    started.wait();
    ASSERT_TRUE(pool.TryPost([&] { order += "n"; }));
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
    WorkerPool pool(3, 1000);
    for (int i = 0; i < 500; ++i) accepted += pool.TryPost([&] { ++done; });
  }
  EXPECT_EQ(accepted, 500);
  EXPECT_EQ(done, 500);
}

}  // namespace
}  // namespace switchyard
