#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "trainer/placement/grouping.h"
#include "trainer/placement/report.h"

namespace switchyard::trainer {
namespace {

using ::testing::ElementsAre;

// One layer; -1 is an empty slot.
RouteRecord Record(int32_t experts, int32_t k, std::vector<int16_t> slots) {
  RouteRecord record;
  record.num_experts = experts;
  record.k = k;
  const size_t rows = slots.size() / static_cast<size_t>(k);
  record.tokens.assign(rows, 0);
  record.sequences.assign(rows, 0);
  record.layers.resize(1);
  record.layers[0].weights.assign(slots.size(), 1.0f / static_cast<float>(k));
  record.layers[0].experts = std::move(slots);
  return record;
}

// Tokens that mostly take two experts of the same parity.
RouteRecord TwoParties(int32_t experts, int rows, double faithful, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int16_t> slots;
  for (int row = 0; row < rows; ++row) {
    const auto first = static_cast<int16_t>(random() % static_cast<uint32_t>(experts));
    int16_t second = first;
    const bool same = std::uniform_real_distribution<>()(random) < faithful;
    while (second == first || (second % 2 == first % 2) != same) second = static_cast<int16_t>(random() % static_cast<uint32_t>(experts));
    slots.insert(slots.end(), {first, second});
  }
  return Record(experts, 2, std::move(slots));
}

TEST(CoActivationTest, CountsPairsAndLoads) {
  const CoActivation counted = CountCoActivation(Record(3, 2, {0, 1, 1, 0, 2, -1, 1, 2, -1, -1}), 0);
  EXPECT_THAT(counted.tokens, ElementsAre(2, 2, 0, 2, 3, 1, 0, 1, 2));
  EXPECT_EQ(counted.load(1), 3);
}

TEST(GroupSizesTest, RoomForWholeNumbers) {
  const auto sizes = [](int32_t experts, int32_t devices, double slack) {
    const GroupSizes s = SizesOf(experts, devices, slack);
    return std::pair(s.least, s.most);
  };
  EXPECT_EQ(sizes(4, 2, .15), std::pair(2, 2));
  EXPECT_EQ(sizes(5, 2, .15), std::pair(2, 3));
  EXPECT_EQ(sizes(64, 4, .15), std::pair(14, 18));
  EXPECT_EQ(sizes(2, 4, .15), std::pair(0, 1));
}

TEST(GroupingTest, WhatIsTakenTogetherLiesTogether) {
  for (const int32_t experts : {4, 8, 16}) {
    const CoActivation counted = CountCoActivation(TwoParties(experts, 4000, .9, 3), 0);
    const std::vector<int32_t> groups = GroupExperts(counted, 2, .15);
    for (int32_t e = 0; e < experts; ++e) EXPECT_EQ(groups[e], groups[e % 2]) << e;
    EXPECT_NE(groups[0], groups[1]);
    EXPECT_GT(PairsTogether(counted, groups), 1.5 * PairsTogether(counted, GroupInOrder(experts, 2)));
  }
}

// The most pairs that any grouping of these sizes keeps together, by trying all.
double BestByTrial(const CoActivation& counted, int32_t devices, GroupSizes sizes) {
  std::vector<int32_t> groups(static_cast<size_t>(counted.experts));
  double best = -1;
  while (true) {
    std::vector<int32_t> size(static_cast<size_t>(devices));
    for (const int32_t g : groups) ++size[g];
    if (std::all_of(size.begin(), size.end(), [&](int32_t s) { return s >= sizes.least && s <= sizes.most; }))
      best = std::max(best, PairsTogether(counted, groups));
    size_t i = 0;
    while (i < groups.size() && ++groups[i] == devices) groups[i++] = 0;
    if (i == groups.size()) return best;
  }
}

TEST(GroupingTest, NearTheBestOfAllGroupingsOnRandomRoutes) {
  int best = 0, tried = 0;
  for (uint32_t seed = 0; seed < 30; ++seed) {
    const int32_t experts = 5 + static_cast<int32_t>(seed % 4), devices = 2 + static_cast<int32_t>(seed % 2);
    const CoActivation counted = CountCoActivation(TwoParties(experts, 300, .6, seed), 0);
    const GroupSizes sizes = SizesOf(experts, devices, .15);
    const std::vector<int32_t> groups = GroupExperts(counted, devices, .15);
    for (int32_t d = 0; d < devices; ++d) {
      const auto size = std::count(groups.begin(), groups.end(), d);
      EXPECT_GE(size, sizes.least) << seed;
      EXPECT_LE(size, sizes.most) << seed;
    }
    const double reachable = BestByTrial(counted, devices, sizes), reached = PairsTogether(counted, groups);
    EXPECT_GE(reached, .9 * reachable) << seed;
    EXPECT_GE(reached, PairsTogether(counted, GroupInOrder(experts, devices)) * .9) << seed;
    best += reached == reachable;
    ++tried;
  }
  EXPECT_GT(best, tried * 2 / 3);
}

// One expert a token: no pairs, and the loads 6, 1, 5, 2 are evened to 7 and 7.
TEST(GroupingTest, WithoutPairsLoadDecides) {
  std::vector<int16_t> slots;
  for (const auto& [expert, times] : {std::pair{0, 6}, std::pair{1, 1}, std::pair{2, 5}, std::pair{3, 2}})
    slots.insert(slots.end(), static_cast<size_t>(times), static_cast<int16_t>(expert));
  const std::vector<int32_t> groups = GroupExperts(CountCoActivation(Record(4, 1, slots), 0), 2, .15);
  EXPECT_EQ(groups[0], groups[1]);
  EXPECT_EQ(groups[2], groups[3]);
  EXPECT_NE(groups[0], groups[2]);
}

TEST(GroupingTest, MoreDevicesThanExperts) {
  const std::vector<int32_t> groups = GroupExperts(CountCoActivation(Record(2, 2, {0, 1}), 0), 4, .15);
  EXPECT_NE(groups[0], groups[1]);
  EXPECT_THAT(GroupExperts(CountCoActivation(Record(3, 1, {0}), 0), 1, .15), ElementsAre(0, 0, 0));
}

CoActivation Loads(const std::vector<double>& loads) {
  CoActivation counted{static_cast<int32_t>(loads.size()), std::vector<double>(loads.size() * loads.size())};
  for (size_t e = 0; e < loads.size(); ++e) counted.tokens[e * loads.size() + e] = loads[e];
  return counted;
}

// Group loads 90, 20, 10: the mean is 40, so n = floor(90 / 40) = 2 copies. The head of 60, 20, 10 that reaches 90 * 2 / 3 = 60 is the first.
TEST(ReplicationTest, ByHand) {
  const Placement placement = Replicate(Loads({20, 60, 10, 20, 10}), {0, 0, 0, 1, 2}, 3);
  EXPECT_THAT(placement.hosts[1], ElementsAre(0, 2, 1));
  for (const int e : {0, 2, 3, 4}) EXPECT_EQ(placement.hosts[e].size(), 1u) << e;
  EXPECT_EQ(placement.copies(), 2);
  // Predicted: 90 - 40 = 50, 10 + 20 = 30, 20 + 20 = 40.
  const double sum = 1. / 50 + 1. / 30 + 1. / 40;
  EXPECT_NEAR(placement.weights[1][0], 1. / 50 / sum, 1e-12);
  EXPECT_NEAR(placement.weights[1][1], 1. / 30 / sum, 1e-12);
  EXPECT_NEAR(placement.weights[1][2], 1. / 40 / sum, 1e-12);
}

TEST(ReplicationTest, AtLeastOneCopyAndNeverMoreThanThereAreOtherDevices) {
  // Loads 6 and 5: one copy of the head that reaches 3.
  EXPECT_EQ(Replicate(Loads({3, 3, 5}), {0, 0, 1}, 2).copies(), 1);
  EXPECT_EQ(Replicate(Loads({100, 0}), {0, 1}, 2).copies(), 1);
  EXPECT_EQ(Replicate(Loads({3, 4}), {0, 0}, 1).copies(), 0);
  EXPECT_EQ(Replicate(Loads({0, 0}), {0, 1}, 2).copies(), 0);
}

// Experts 0 and 1 on device 0, 2 on device 1. A token of 0 and 1 leaves one of its two homes, one of 0 and 2 either.
TEST(TrafficTest, ByHand) {
  const RouteRecord record = Record(3, 2, {0, 1, 0, 2, 2, -1, -1, -1});
  const Traffic traffic = EstimateTraffic(record, 0, PlaceGroups({0, 0, 1}, 2));
  EXPECT_NEAR(traffic.sends, (.5 + 1 + .5 + 0) / 4, 1e-12);
  EXPECT_THAT(traffic.load, ElementsAre(.6, .4));
  EXPECT_NEAR(traffic.imbalance, 1.2, 1e-12);
  const Traffic apart = EstimateTraffic(record, 0, PlaceGroups({0, 1, 0}, 2));
  EXPECT_NEAR(apart.sends, (1 + .5 + .5 + 0) / 4, 1e-12);
}

TEST(TrafficTest, CopiesAtHomeAreNeverLeftAndOthersAreDealtOutByWeight) {
  // Expert 0 on devices 0 and 1 of 3, three parts to one.
  Placement placement{3, {{0, 1}}, {{.75, .25}}};
  const Traffic traffic = EstimateTraffic(Record(1, 1, std::vector<int16_t>(400, 0)), 0, placement);
  EXPECT_NEAR(traffic.sends, 1. / 3, 1e-12);
  EXPECT_NEAR(traffic.load[0], (1 + .75) / 3, 1e-12);
  EXPECT_NEAR(traffic.load[1], (1 + .25) / 3, 1e-12);
  EXPECT_EQ(traffic.load[2], 0);
}

// Distinct devices times the chance that none of them is home, whatever the placement without copies.
TEST(TrafficTest, WithoutCopiesItFollowsFromTheDevicesOfAToken) {
  const RouteRecord record = TwoParties(7, 500, .5, 11);
  for (const int32_t devices : {1, 2, 3, 7}) {
    const std::vector<int32_t> groups = GroupInOrder(7, devices);
    double sends = 0;
    for (int64_t row = 0; row < record.rows(); ++row) {
      const std::set<int32_t> own = {groups[record.layers[0].experts[row * 2]], groups[record.layers[0].experts[row * 2 + 1]]};
      sends += static_cast<double>(own.size()) * (devices - 1) / devices;
    }
    EXPECT_NEAR(EstimateTraffic(record, 0, PlaceGroups(groups, devices)).sends, sends / 500, 1e-9) << devices;
  }
}

TEST(PlacementReportTest, GroupsSaveTrafficCopiesEvenLoadAndZeroIsNoPart) {
  RouteRecord record = TwoParties(6, 3000, .9, 5);
  // Zero stands in the middle; some tokens take it.
  for (int16_t& expert : record.layers[0].experts) expert = static_cast<int16_t>(expert + (expert >= 2));
  record.num_experts = 7;
  record.zero_expert = 2;
  for (int row = 0; row < 500; ++row) record.layers[0].experts[static_cast<size_t>(row) * 2 + 1] = 2;
  // One expert is hot.
  for (int row = 500; row < 1500; ++row) record.layers[0].experts[static_cast<size_t>(row) * 2] = 0;
  for (int row = 500; row < 1500; ++row) record.layers[0].experts[static_cast<size_t>(row) * 2 + 1] = static_cast<int16_t>(row % 2 ? 3 : 5);
  const PlacementOptions options{.devices = 2, .bytes_per_state = 100, .experts = {"a", "b", "c", "d", "e", "f"}};
  const auto report = MakePlacementReport(record, options);
  ASSERT_TRUE(report.ok()) << report.status();
  const LayerPlacement& layer = report->layers[0];
  EXPECT_EQ(layer.counted.experts, 6);
  EXPECT_LT(layer.grouped.sends, .9 * layer.before.sends);
  EXPECT_LT(layer.replicated.sends, layer.grouped.sends);
  EXPECT_LT(layer.replicated.imbalance, layer.grouped.imbalance);
  EXPECT_NEAR(report->BytesPerToken(&LayerPlacement::before), 200 * layer.before.sends, 1e-9);

  const std::string markdown = PlacementMarkdown(*report);
  EXPECT_THAT(markdown, ::testing::HasSubstr("| in order |"));
  EXPECT_THAT(markdown, ::testing::HasSubstr("## Layer 0"));
  const nlohmann::json json = nlohmann::json::parse(PlacementJson(*report));
  EXPECT_EQ(json["layers"][0]["co_activation"][0][0], layer.counted.load(0));
  EXPECT_EQ(json["layers"][0]["groups"].get<std::vector<int32_t>>(), layer.groups);
  EXPECT_EQ(json["mean"]["grouped"]["sends_per_token"], layer.grouped.sends);
}

TEST(PlacementReportTest, RefusesWhatHasNoPlacement) {
  const RouteRecord record = TwoParties(4, 10, .9, 5);
  PlacementOptions options{.devices = 0, .experts = {"a", "b", "c", "d"}};
  EXPECT_EQ(MakePlacementReport(record, options).status().code(), absl::StatusCode::kInvalidArgument);
  options.devices = 2;
  options.slack = 1;
  EXPECT_EQ(MakePlacementReport(record, options).status().code(), absl::StatusCode::kInvalidArgument);
  options.slack = .15;
  EXPECT_TRUE(MakePlacementReport(record, options).ok());
  RouteRecord zero = Record(1, 1, {0});
  zero.zero_expert = 0;
  EXPECT_EQ(MakePlacementReport(zero, {.experts = {}}).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace switchyard::trainer
