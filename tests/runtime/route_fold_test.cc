#include "engine/runtime/route_fold.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/testing/fake_model_runner.h"

namespace switchyard {
namespace {

RouteTrace OneRow(std::vector<ExpertIndex> experts, std::vector<float> weights, float entropy) {
  return {
      .rows = 1, .layers = 1, .k = 2, .experts = std::move(experts), .weights = std::move(weights), .margin = {0.5f}, .entropy = {entropy}};
}

TEST(RuntimeRouteFold, CountsATrace) {
  SnapshotInfo info = FakeModelRunner({.num_layers = 1}).snapshot()->info();  // 4 experts, the last is zero
  RouteTrace trace;
  ASSERT_TRUE(AppendTrace(OneRow({0, 3}, {0.75f, 0.25f}, 1.5f), &trace).ok());
  ASSERT_TRUE(AppendTrace(OneRow({1, kNoExpert}, {0.5f, 0}, std::numeric_limits<float>::quiet_NaN()), &trace).ok());
  const RouteCounts counts = CountTrace(trace, info);
  EXPECT_EQ(counts.tokens, (std::vector<uint64_t>{1, 1, 0, 1}));
  EXPECT_EQ(counts.weight, (std::vector<double>{0.75, 0.5, 0, 0.25}));
  EXPECT_EQ(counts.base_mass, std::vector<double>{0.25 + 0.5});
  EXPECT_EQ(counts.entropy_sum, std::vector<double>{1.5});
  EXPECT_EQ(counts.entropy_rows, std::vector<uint64_t>{1});
  EXPECT_EQ(counts.rows, std::vector<uint64_t>{2});
  EXPECT_EQ(counts.learned_tokens, (std::vector<uint64_t>{1, 0, 0, 1}));  // the second row had no distribution
  EXPECT_EQ(counts.learned_weight, (std::vector<double>{0.75, 0, 0, 0.25}));
}

TEST(RuntimeRouteFold, CountsFlipsBetweenNeighbours) {
  const SnapshotInfo info = FakeModelRunner({.num_layers = 1}).snapshot()->info();
  const float none = std::numeric_limits<float>::quiet_NaN();
  RouteTrace trace;
  for (const auto& [best, entropy] : {std::pair{0, 1.0f}, std::pair{0, 1.0f}, std::pair{2, 1.0f}, std::pair{int{kNoExpert}, 1.0f},
                                      std::pair{int{kNoExpert}, 1.0f}, std::pair{1, none}}) {
    ASSERT_TRUE(AppendTrace(OneRow({static_cast<ExpertIndex>(best), kNoExpert}, {1, 0}, entropy), &trace).ok());
  }
  const RouteCounts counts = CountTrace(trace, info);
  EXPECT_EQ(counts.pairs, std::vector<uint64_t>{3});  // not the first row, two without experts, or one without a distribution
  EXPECT_EQ(counts.flips, std::vector<uint64_t>{2});
}

TEST(RuntimeRouteFold, TracesOfAnotherShapeDoNotMix) {
  RouteTrace trace = OneRow({0, 1}, {1, 0}, 0);
  RouteTrace other = trace;
  other.k = 1;
  EXPECT_EQ(AppendTrace(other, &trace).code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(AppendTrace(RouteTrace{}, &trace).ok());
  EXPECT_EQ(trace.rows, 1);
}

SnapshotInfo Experts(const std::vector<std::string>& names) {
  SnapshotInfo info;
  for (const std::string& name : names) info.experts.push_back({.name = name, .generation = "g", .is_zero = name == "zero"});
  return info;
}

// A swap that replaces one expert and moves the others leaves everybody's sums where they were.
TEST(RuntimeRouteFold, TotalsAddUpByNameAcrossSnapshots) {
  RouteTotals totals;
  EXPECT_TRUE(totals.Copy().rows.empty());
  const RouteCounts step{.tokens = {1, 2}, .weight = {0.5, 1}, .entropy_sum = {0.1}, .entropy_rows = {3}, .base_mass = {0.2}, .rows = {3}};
  totals.Add(step, Experts({"law", "zero"}));
  totals.Add(step, Experts({"law", "zero"}));
  totals.Add(RouteCounts{}, Experts({"law", "zero"}));
  totals.Add({.tokens = {5, 6, 7}, .weight = {1, 2, 3}, .entropy_sum = {0}, .entropy_rows = {0}, .base_mass = {1}, .rows = {18}},
             Experts({"medicine", "law", "zero"}));
  const RouteSums sums = totals.Copy();
  ASSERT_EQ(sums.experts.size(), 3u);
  EXPECT_EQ(sums.experts[0].name, "law");
  EXPECT_EQ(sums.experts[0].tokens, std::vector<uint64_t>{2 + 6});
  EXPECT_EQ(sums.experts[0].weight, std::vector<double>{1 + 2});
  EXPECT_EQ(sums.experts[1].tokens, std::vector<uint64_t>{4 + 7});
  EXPECT_EQ(sums.zero_weight, std::vector<double>{1 + 1 + 3});
  EXPECT_EQ(sums.experts[2].name, "medicine");
  EXPECT_EQ(sums.experts[2].tokens, std::vector<uint64_t>{5});
  EXPECT_EQ(sums.rows, std::vector<uint64_t>{6 + 18});
}

// The zero expert may come under another name, and its old name may become somebody else's.
TEST(RuntimeRouteFold, TheZeroExpertsWeightDoesNotHangOnItsName) {
  RouteTotals totals;
  const RouteCounts step{.tokens = {4, 2}, .weight = {4, 2}, .entropy_sum = {0}, .entropy_rows = {0}, .base_mass = {2}, .rows = {6}};
  totals.Add(step, Experts({"law", "zero"}));
  SnapshotInfo renamed = Experts({"zero", "none"});
  renamed.experts[0].is_zero = false;
  renamed.experts[1].is_zero = true;
  totals.Add(step, renamed);
  EXPECT_EQ(totals.Copy().zero_weight, std::vector<double>{2 + 2});
}

TEST(RuntimeRouteFold, NamesAreBounded) {
  RouteTotals totals;
  for (size_t i = 0; i < RouteTotals::kMaxExperts + 100; ++i) {
    totals.Add({.tokens = {1}, .weight = {1}, .entropy_sum = {0}, .entropy_rows = {0}, .base_mass = {0}, .rows = {1}},
               Experts({"expert-" + std::to_string(i)}));
  }
  const RouteSums sums = totals.Copy();
  ASSERT_EQ(sums.experts.size(), RouteTotals::kMaxExperts + 1);
  EXPECT_EQ(sums.experts.back().name, "other");
  EXPECT_EQ(sums.experts.back().tokens, std::vector<uint64_t>{100});
}

RouteCounts LearnedStep(uint64_t rows) {
  return {.tokens = {rows},
          .weight = {1},
          .entropy_sum = {0.5},
          .entropy_rows = {rows},
          .base_mass = {0},
          .rows = {rows},
          .learned_tokens = {rows},
          .learned_weight = {1},
          .pairs = {1},
          .flips = {1}};
}

TEST(RuntimeRouteFold, EverySnapshotsRouterHasItsOwnSums) {
  RouteTotals totals;
  SnapshotInfo stable = Experts({"law"}), canary = Experts({"law"});
  stable.generation = "stable";
  canary.generation = "canary";
  totals.Add(LearnedStep(3), stable);
  totals.Add(LearnedStep(4), canary);
  totals.Add(LearnedStep(5), stable);
  RouteCounts forced = LearnedStep(7);
  forced.entropy_rows = {0};
  totals.Add(forced, Experts({"law"}));
  const std::vector<RouterSums> routers = totals.CopyRouters();
  ASSERT_EQ(routers.size(), 2u);
  EXPECT_EQ(routers[0].generation, "stable");
  EXPECT_EQ(routers[0].tokens, std::vector<uint64_t>{8});
  EXPECT_EQ(routers[0].pairs, std::vector<uint64_t>{2});
  EXPECT_EQ(routers[1].rows, std::vector<uint64_t>{4});
}

TEST(RuntimeRouteFold, TheRouterUsedLongestAgoMakesRoom) {
  RouteTotals totals;
  const auto add = [&](const std::string& generation) {
    SnapshotInfo info = Experts({"law"});
    info.generation = generation;
    totals.Add(LearnedStep(1), info);
  };
  for (size_t i = 0; i < RouteTotals::kMaxSnapshots; ++i) add("g" + std::to_string(i));
  add("g0");
  add("new");
  std::vector<std::string> kept;
  for (const RouterSums& sums : totals.CopyRouters()) kept.push_back(sums.generation);
  EXPECT_EQ(kept.size(), RouteTotals::kMaxSnapshots);
  EXPECT_EQ(kept[0], "g0");
  EXPECT_EQ(kept[1], "new");  // where g1 was
}

}  // namespace
}  // namespace switchyard
