#include "client/ordered_pool.h"

#include <atomic>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace switchyard::client {
namespace {

std::function<std::optional<int>()> CountTo(int n, int* taken) {
  return [n, taken]() -> std::optional<int> { return *taken < n ? std::optional<int>((*taken)++) : std::nullopt; };
}

TEST(OrderedPool, ResultsComeInOrderAlthoughTheFirstIsTheLastToFinish) {
  absl::Notification first_may_end;
  int taken = 0;
  std::atomic<int> others{0};
  std::vector<int> results;
  RunOrdered<int, int>(
      3, CountTo(9, &taken),
      [&](int& item) {
        if (item == 0)
          first_may_end.WaitForNotification();
        else if (++others == 8)
          first_may_end.Notify();
        return item * 10;
      },
      [&](int result) {
        results.push_back(result);
        return true;
      });
  EXPECT_THAT(results, ::testing::ElementsAre(0, 10, 20, 30, 40, 50, 60, 70, 80));
}

TEST(OrderedPool, ASlowItemStopsTheIntakeAtFourTimesTheConcurrency) {
  absl::Notification first_may_end;
  int taken = 0;
  std::atomic<int> others{0};
  int taken_when_first_ended = 0;
  RunOrdered<int, int>(
      2, CountTo(100, &taken),
      [&](int& item) {
        // The window is 8: the other seven are all that is handed out while the first is held back.
        if (item == 0)
          first_may_end.WaitForNotification();
        else if (++others == 7)
          first_may_end.Notify();
        return item;
      },
      [&](int result) {
        if (result == 0) taken_when_first_ended = taken;
        return true;
      });
  EXPECT_EQ(taken_when_first_ended, 8);
  EXPECT_EQ(taken, 100);
}

TEST(OrderedPool, NeverRunsMoreAtOnceThanAsked) {
  int taken = 0;
  std::atomic<int> running{0}, most{0};
  RunOrdered<int, int>(
      4, CountTo(500, &taken),
      [&](int& item) {
        const int now = ++running;
        int seen = most;
        while (now > seen && !most.compare_exchange_weak(seen, now)) {
        }
        --running;
        return item;
      },
      [](int) { return true; });
  EXPECT_LE(most, 4);
  EXPECT_GE(most, 1);
}

TEST(OrderedPool, StopsWhenTheSinkSaysSo) {
  int taken = 0, delivered = 0;
  RunOrdered<int, int>(
      2, CountTo(1000, &taken), [](int& item) { return item; }, [&](int) { return ++delivered < 5; });
  EXPECT_EQ(delivered, 5);
  EXPECT_LE(taken, 4 + 8);
}

TEST(OrderedPool, NothingToDoEnds) {
  int taken = 0, delivered = 0;
  RunOrdered<int, int>(
      3, CountTo(0, &taken), [](int& item) { return item; }, [&](int) { return ++delivered > 0; });
  EXPECT_EQ(delivered, 0);
}

}  // namespace
}  // namespace switchyard::client
