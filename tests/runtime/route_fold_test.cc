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
}

TEST(RuntimeRouteFold, TracesOfAnotherShapeDoNotMix) {
  RouteTrace trace = OneRow({0, 1}, {1, 0}, 0);
  RouteTrace other = trace;
  other.k = 1;
  EXPECT_EQ(AppendTrace(other, &trace).code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(AppendTrace(RouteTrace{}, &trace).ok());
  EXPECT_EQ(trace.rows, 1);
}

TEST(RuntimeRouteFold, TotalsAddUpAndRestartWithAnotherShape) {
  RouteTotals totals;
  EXPECT_TRUE(totals.Copy().rows.empty());
  const RouteCounts step{.tokens = {1, 2}, .weight = {0.5, 1}, .entropy_sum = {0.1}, .entropy_rows = {3}, .base_mass = {0.2}, .rows = {3}};
  totals.Add(step);
  totals.Add(step);
  totals.Add(RouteCounts{});
  EXPECT_EQ(totals.Copy().tokens, (std::vector<uint64_t>{2, 4}));
  EXPECT_EQ(totals.Copy().rows, std::vector<uint64_t>{6});
  const RouteCounts wider{.tokens = {1, 2, 3}, .weight = {0, 0, 0}, .entropy_sum = {0}, .entropy_rows = {0}, .base_mass = {0}, .rows = {6}};
  totals.Add(wider);
  EXPECT_EQ(totals.Copy().tokens, (std::vector<uint64_t>{1, 2, 3}));
}

}  // namespace
}  // namespace switchyard
