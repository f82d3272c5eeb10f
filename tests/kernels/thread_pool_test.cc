#include "engine/kernels/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

namespace switchyard::kernels {
namespace {

TEST(ThreadPool, CoversEveryIndexOnceInRangesOfAtLeastTheGrain) {
  std::mt19937 random(1);
  for (int threads = 1; threads <= 4; ++threads) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (int round = 0; round < 200; ++round) {
      const int64_t count = std::uniform_int_distribution<int64_t>(0, 300)(random),
                    grain = std::uniform_int_distribution<int64_t>(0, 40)(random);
      // Plain ints: the pool itself must make them visible to the caller.
      std::vector<int> seen(count, 0);
      std::atomic<int> short_ranges{0};
      pool.ParallelFor(count, grain, [&](int64_t begin, int64_t end) {
        if (end - begin < grain) short_ranges.fetch_add(1);
        for (int64_t i = begin; i < end; ++i) ++seen[i];
      });
      EXPECT_LE(short_ranges.load(), 1);
      for (int64_t i = 0; i < count; ++i) ASSERT_EQ(seen[i], 1) << "count " << count << " grain " << grain << " threads " << threads;
    }
  }
}

TEST(ThreadPool, NothingToDoCallsNothing) {
  ThreadPool pool(3);
  pool.ParallelFor(0, 1, [](int64_t, int64_t) { FAIL(); });
  pool.ParallelFor(-4, 1, [](int64_t, int64_t) { FAIL(); });
}

TEST(ThreadPool, ManySmallJobsInARow) {
  ThreadPool pool(4);
  int64_t total = 0;
  for (int job = 0; job < 20000; ++job) {
    int64_t parts[8] = {};
    pool.ParallelFor(8, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) parts[i] = job + i;
    });
    for (const int64_t part : parts) total += part;
  }
  EXPECT_EQ(total, 8LL * (20000LL * 19999 / 2) + 20000LL * 28);
}

// Two chunks that can only finish together: the second thread really takes part, also when it has to be woken.
TEST(ThreadPool, WorkersTakePartAfterHavingSlept) {
  ThreadPool pool(2);
  for (int round = 0; round < 20; ++round) {
    std::mutex mutex;
    std::condition_variable changed;
    int present = 0;
    pool.ParallelFor(2, 1, [&](int64_t, int64_t) {
      std::unique_lock<std::mutex> lock(mutex);
      ++present;
      changed.notify_all();
      changed.wait(lock, [&] { return present == 2; });
    });
    EXPECT_EQ(present, 2);
    // Longer than the workers spin.
    const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(400);
    while (std::chrono::steady_clock::now() < until) std::this_thread::yield();
  }
}

// The calling thread does everything itself while the only worker is held inside a chunk.
TEST(ThreadPool, TheCallerDoesNotWaitForLateWorkers) {
  ThreadPool pool(2);
  const std::thread::id caller = std::this_thread::get_id();
  std::mutex mutex;
  std::condition_variable changed;
  bool worker_in = false;
  int caller_chunks = 0;
  pool.ParallelFor(8, 1, [&](int64_t, int64_t) {
    std::unique_lock<std::mutex> lock(mutex);
    if (std::this_thread::get_id() != caller) {
      worker_in = true;
      changed.notify_all();
      changed.wait(lock, [&] { return caller_chunks == 7; });
      return;
    }
    changed.wait(lock, [&] { return worker_in; });
    ++caller_chunks;
    changed.notify_all();
  });
  EXPECT_EQ(caller_chunks, 7);
}

TEST(ThreadPool, SeveralPoolsUnderContention) {
  std::vector<std::thread> engines;
  std::atomic<int64_t> wrong{0};
  for (int e = 0; e < 4; ++e) {
    engines.emplace_back([&wrong, e] {
      ThreadPool pool(3);
      std::mt19937 random(e);
      std::vector<int64_t> data(4096);
      for (int round = 0; round < 500; ++round) {
        const int64_t grain = std::uniform_int_distribution<int64_t>(1, 600)(random);
        pool.ParallelFor(4096, grain, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) data[i] = i * round;
        });
        for (int64_t i = 0; i < 4096; ++i) wrong += data[i] != i * round;
      }
    });
  }
  for (std::thread& engine : engines) engine.join();
  EXPECT_EQ(wrong.load(), 0);
}

TEST(ThreadPool, StartsAndStopsWithoutWork) {
  for (int round = 0; round < 50; ++round) {
    ThreadPool pool(4);
    if (round % 2 == 0) continue;
    std::atomic<int> sum{0};
    pool.ParallelFor(5, 1, [&](int64_t begin, int64_t end) { sum += static_cast<int>(end - begin); });
    EXPECT_EQ(sum.load(), 5);
  }
}

}  // namespace
}  // namespace switchyard::kernels
