// Figures of the routers over the last minutes: the window over sums that grow, and the formulas' inputs.
#include <gtest/gtest.h>

#include <cmath>

#include "server/route_window.h"
#include "server/router_collectable.h"
#include "tests/testing/fake_clock.h"

namespace switchyard {
namespace {

using std::chrono::seconds;

RouterSums SumsOf(uint64_t rows, const std::string& generation = "g") {
  return {.generation = generation,
          .experts = 1,
          .tokens = {rows},
          .weight = {static_cast<double>(rows) / 2},
          .entropy_sum = {static_cast<double>(rows) / 4},
          .rows = {rows},
          .pairs = {rows - 1},
          .flips = {rows / 2}};
}

TEST(RouteWindow, IsEverythingUntilItIsFull) {
  const Clock::Time start{};
  RouteWindow window;
  EXPECT_EQ(window.Growth(start, SumsOf(3)).rows[0], 3u);
  window.Note(start, {SumsOf(10)});
  EXPECT_EQ(window.Growth(start + seconds(299), SumsOf(12)).rows[0], 12u);
}

TEST(RouteWindow, LosesWhatIsOlder) {
  const Clock::Time start{};
  RouteWindow window;
  for (int i = 0; i <= 40; ++i) window.Note(start + i * RouteWindow::kInterval, {SumsOf(100 * static_cast<uint64_t>(i + 1))});
  // Ten minutes and a second of a hundred rows a note: the note five minutes ago said 2100.
  const RouterSums growth = window.Growth(start + seconds(601), SumsOf(4107));
  EXPECT_EQ(growth.rows[0], 4107u - 2100);
  EXPECT_EQ(growth.tokens[0], 4107u - 2100);
  EXPECT_EQ(growth.pairs[0], 4106u - 2099);
  EXPECT_EQ(growth.flips[0], 2053u - 1050);
  EXPECT_DOUBLE_EQ(growth.weight[0], (4107.0 - 2100) / 2);
  EXPECT_DOUBLE_EQ(growth.entropy_sum[0], (4107.0 - 2100) / 4);
}

TEST(RouteWindow, NewAndForgottenSnapshotsBeginAtZero) {
  const Clock::Time start{};
  RouteWindow window;
  window.Note(start, {SumsOf(1000, "old")});
  window.Note(start + seconds(300), {SumsOf(1000, "old")});
  EXPECT_EQ(window.Growth(start + seconds(300), SumsOf(7, "new")).rows[0], 7u);
  EXPECT_EQ(window.Growth(start + seconds(300), SumsOf(8, "old")).rows[0], 8u);  // it was forgotten in between
  EXPECT_EQ(window.Growth(start + seconds(300), SumsOf(1000, "old")).rows[0], 0u);
}

SnapshotInfo ThreeExpertsAndZero() {
  SnapshotInfo info;
  for (const char* name : {"law", "zero", "code", "late"})
    info.experts.push_back({.name = name, .generation = "g", .is_zero = name[0] == 'z'});
  info.learned_experts = 3;  // its router does not know "late"
  info.num_layers = 1;
  return info;
}

TEST(RouterFigures, AreOverTheExpertsTheRouterChoosesAmong) {
  SnapshotInfo info = ThreeExpertsAndZero();
  info.trained_load = {0.5f, 0.5f, 0};
  const RouterSums sums{.generation = "g",
                        .experts = 4,
                        .tokens = {4, 2, 0, 0},
                        .weight = {3, 2, 0, 0},
                        .entropy_sum = {1.5},
                        .rows = {6},
                        .pairs = {5},
                        .flips = {1}};
  const RouterFigures f = FiguresOf(sums, info, 0);
  EXPECT_EQ(f.rows, 6u);
  EXPECT_DOUBLE_EQ(*f.all.utilisation, 2.0 / 3);
  EXPECT_EQ(*f.all.dead_experts, 1);
  EXPECT_DOUBLE_EQ(*f.all.imbalance, 2);
  EXPECT_DOUBLE_EQ(*f.all.max_violation, 1);
  EXPECT_DOUBLE_EQ(*f.all.cv, std::sqrt(8.0 / 3) / 2);
  EXPECT_NEAR(*f.all.gini, 4.0 / 9, 1e-12);
  EXPECT_NEAR(*f.all.entropy, -(2.0 / 3 * std::log(2.0 / 3) + 1.0 / 3 * std::log(1.0 / 3)) / std::log(3.0), 1e-12);
  // (2/3, 1/3, 0) from (1/2, 1/2, 0); without zero both are all law.
  EXPECT_NEAR(*f.all.drift, 0.5 * (2.0 / 3 * std::log(8.0 / 7) + 1.0 / 3 * std::log(0.8) + 0.5 * std::log(6.0 / 7) + 0.5 * std::log(1.2)),
              1e-7);
  EXPECT_NEAR(*f.domains.drift, 0, 1e-12);
  EXPECT_DOUBLE_EQ(*f.domains.utilisation, 0.5);
  EXPECT_EQ(*f.domains.dead_experts, 1);
  EXPECT_DOUBLE_EQ(*f.domains.imbalance, 2);
  EXPECT_NEAR(*f.domains.entropy, 0, 1e-12);
  EXPECT_DOUBLE_EQ(*f.entropy, 1.5 / 6 / std::log(3.0));
  EXPECT_DOUBLE_EQ(*f.zero_share, 2.0 / 6);
  EXPECT_DOUBLE_EQ(*f.base_mass, 1 - 3.0 / 6);
  EXPECT_DOUBLE_EQ(*f.flips, 0.2);
}

TEST(RouterFigures, UndefinedIsAbsent) {
  SnapshotInfo info = ThreeExpertsAndZero();
  RouterSums sums{.generation = "g",
                  .experts = 4,
                  .tokens = {0, 1, 0, 0},
                  .weight = {0, 1, 0, 0},
                  .entropy_sum = {0},
                  .rows = {1},
                  .pairs = {0},
                  .flips = {0}};
  const RouterFigures f = FiguresOf(sums, info, 0);
  EXPECT_FALSE(f.flips);      // no neighbours
  EXPECT_FALSE(f.all.drift);  // the router does not say what it was trained on
  EXPECT_TRUE(f.all.utilisation);
  EXPECT_FALSE(f.domains.utilisation);  // everything went to zero
  EXPECT_FALSE(f.domains.dead_experts);
  EXPECT_EQ(*f.base_mass, 1);
  info.experts[1].is_zero = false;
  EXPECT_FALSE(FiguresOf(sums, info, 0).zero_share);
  sums.rows = {0};
  const RouterFigures none = FiguresOf(sums, info, 0);
  EXPECT_FALSE(none.base_mass || none.entropy || none.all.utilisation || none.zero_share);
}

}  // namespace
}  // namespace switchyard
