#include "engine/runtime/route_divergence.h"

#include <gtest/gtest.h>

#include <cmath>

namespace switchyard {
namespace {

SnapshotInfo Info(const std::vector<std::pair<std::string, std::string>>& experts) {
  SnapshotInfo info;
  for (const auto& [name, generation] : experts)
    info.experts.push_back({.name = name, .generation = generation, .is_zero = name == "zero"});
  return info;
}

// [rows][layers][k] with one layer.
RouteTrace Trace(int k, std::vector<ExpertIndex> experts, std::vector<float> weights, int layers = 1) {
  RouteTrace trace;
  trace.layers = layers;
  trace.k = k;
  trace.rows = static_cast<int32_t>(experts.size()) / (k * layers);
  trace.experts = std::move(experts);
  trace.weights = std::move(weights);
  return trace;
}

TEST(RuntimeRouteDivergence, TheSameRoutesUnderOtherIndicesAreTheSame) {
  const SnapshotInfo a = Info({{"law", "1"}, {"med", "1"}, {"zero", "zero"}}), b = Info({{"zero", "zero"}, {"med", "1"}, {"law", "1"}});
  const auto found = CompareTraces(Trace(2, {0, 1, 2, 0}, {0.75, 0.25, 0.5, 0.5}), a, Trace(2, {2, 1, 0, 2}, {0.75, 0.25, 0.5, 0.5}), b);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->Sum().rows, 2u);
  EXPECT_EQ(found->Sum().best_changed, 0u);
  EXPECT_EQ(found->Sum().set_changed, 0u);
  EXPECT_DOUBLE_EQ(found->Sum().js_nats, 0);
}

TEST(RuntimeRouteDivergence, AReplacedExpertIsAnotherOne) {
  const auto found = CompareTraces(Trace(1, {0}, {1}), Info({{"law", "1"}}), Trace(1, {0}, {1}), Info({{"law", "2"}}));
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->Sum().best_changed, 1u);
  EXPECT_NEAR(found->Sum().js_nats, std::log(2), 1e-12) << "nothing in common";
}

// Lists differ in length, and what no expert got is the base's: an unused slot is the zero expert.
TEST(RuntimeRouteDivergence, UnusedWeightIsTheBase) {
  const SnapshotInfo a = Info({{"law", "1"}, {"zero", "zero"}}), b = Info({{"law", "1"}});
  const auto found = CompareTraces(Trace(1, {1, 0}, {1, 1}), a, Trace(2, {kNoExpert, kNoExpert, 0, kNoExpert}, {0, 0, 0.5, 0}), b);
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->Sum().best_changed, 0u);
  EXPECT_EQ(found->Sum().set_changed, 1u) << "of the second row: law alone against law and the base";
  // Row 2: (base 0, law 1) against (base .5, law .5); mean (.25, .75): (ln(4/3) + .5 ln 2 + .5 ln(2/3)) / 2.
  EXPECT_NEAR(found->Sum().js_nats, 0.5 * std::log(4.0 / 3) + 0.25 * std::log(2) + 0.25 * std::log(2.0 / 3), 1e-12);
}

TEST(RuntimeRouteDivergence, LayersAreKeptApartAndAddUp) {
  const SnapshotInfo info = Info({{"law", "1"}, {"med", "1"}});
  RouteDivergence total;
  for (int i = 0; i < 2; ++i) total.Add(*CompareTraces(Trace(1, {0, 0}, {1, 1}, 2), info, Trace(1, {0, 1}, {1, 1}, 2), info));
  ASSERT_EQ(total.layers.size(), 2u);
  EXPECT_EQ(total.layers[0].best_changed, 0u);
  EXPECT_EQ(total.layers[1].best_changed, 2u);
  EXPECT_EQ(total.layers[1].rows, 2u);
  EXPECT_NEAR(total.Sum().js_nats, 2 * std::log(2), 1e-12);
}

TEST(RuntimeRouteDivergence, OtherShapesAreRefused) {
  const SnapshotInfo info = Info({{"law", "1"}});
  EXPECT_EQ(CompareTraces(Trace(1, {0, 0}, {1, 1}), info, Trace(1, {0}, {1}), info).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CompareTraces(Trace(1, {0, 0}, {1, 1}), info, Trace(1, {0, 0}, {1, 1}, 2), info).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace switchyard
