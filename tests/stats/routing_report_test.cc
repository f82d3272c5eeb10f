#include "engine/stats/routing_report.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>
#include <string>

namespace switchyard {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Six tokens of two sequences and two tasks through two layers; experts a, zero, b.
RouteRecord Record() {
  RouteRecord record;
  record.num_experts = 3;
  record.k = 1;
  record.zero_expert = 1;
  record.num_tasks = 2;
  record.tokens = {5, 6, 5, 7, 8, 7};
  record.sequences = {0, 0, 0, 1, 1, 1};
  record.tasks = {0, 0, 0, 1, 1, 1};
  LayerRecord apart;
  apart.experts = {0, 0, 0, 2, 2, 1};
  apart.weights = {1, 1, 1, 1, 1, 1};
  apart.entropy = {0.5f, 0.5f, kNan, 0.1f, 0.1f, 0.3f};
  apart.probabilities = {.7f, .2f, .1f, .6f, .3f, .1f, .5f, .25f, .25f, .1f, .1f, .8f};
  LayerRecord same;
  same.experts = {1, 1, 1, 1, 1, 1};
  same.weights = {1, 1, 1, 1, 1, 1};
  record.layers = {apart, same};
  return record;
}

TEST(StatsRoutingReport, EveryFigureHasANameOfItsOwn) {
  std::set<std::string_view> ids, labels;
  for (const FigureName& name : kFigureNames) {
    EXPECT_FALSE(name.id.empty());
    EXPECT_TRUE(ids.insert(name.id).second) << name.id;
    EXPECT_TRUE(labels.insert(name.label).second) << name.label;
  }
}

TEST(StatsRoutingReport, FiguresAreByLayerAndThenAveraged) {
  const RoutingReport report = MakeRoutingReport(Record(), {.batch_rows = 3});
  EXPECT_EQ(report.tokens, 6);
  const RoutingFigures& all = report.with_zero;
  EXPECT_EQ(all.load[0], (std::vector<double>{0.5, 1.0 / 6, 1.0 / 3}));
  EXPECT_NEAR(*all.layers[0][kMaxVio], 0.5, 1e-12);
  EXPECT_NEAR(*all.layers[1][kMaxVio], 2, 1e-12);
  EXPECT_NEAR(*all.mean[kMaxVio], 1.25, 1e-12);
  EXPECT_NEAR(*all.max[kMaxVio], 2, 1e-12);
  EXPECT_NEAR(*all.layers[0][kMaxVioBatch], (2.0 + 1.0) / 2, 1e-12);  // 3,0,0 and 0,1,2
  EXPECT_NEAR(*all.layers[0][kRoutingEntropy], 0.3, 1e-6);            // NaN rows have no distribution
  EXPECT_NEAR(*all.layers[0][kRoutingEntropyNormalised], 0.3 / std::log(3.0), 1e-6);
  EXPECT_FALSE(all.layers[1][kRoutingEntropy].has_value());
  EXPECT_NEAR(*all.mean[kRoutingEntropy], 0.3, 1e-6);
  EXPECT_EQ(all.layers[0][kOverlapPosition], 0);
  EXPECT_EQ(all.layers[0][kOverlapChance], 0);
  EXPECT_NEAR(*all.layers[0][kOverlapVocabulary], 0.5 / 3, 1e-12);  // {5,6}, {7}, {7,8}
  EXPECT_NEAR(*all.layers[0][kSequentialConsistency], 3.0 / 4, 1e-12);
  EXPECT_NEAR(*all.layers[0][kSequentialChance], 0.25 + 1.0 / 36 + 1.0 / 9, 1e-12);
  EXPECT_NEAR(*all.layers[0][kTopKOverlap], 3.0 / 4, 1e-12);
  EXPECT_NEAR(*all.early_late, 3.0, 1e-12);  // utilisation 1 over 1/3
}

TEST(StatsRoutingReport, DomainsAloneLeaveTheZeroExpertOut) {
  const RoutingReport report = MakeRoutingReport(Record());
  const RoutingFigures& domains = report.domains_only;
  EXPECT_EQ(domains.load[0], (std::vector<double>{0.6, 0.4}));
  EXPECT_NEAR(*domains.layers[0][kMaxVio], 0.2, 1e-12);
  EXPECT_TRUE(domains.load[1].empty());
  EXPECT_FALSE(domains.layers[1][kMaxVio].has_value());
  EXPECT_NEAR(*domains.mean[kMaxVio], 0.2, 1e-12);  // the layer without selections does not count
  EXPECT_FALSE(domains.layers[1][kSequentialConsistency].has_value());
  // Both variants have the base's part from the whole record.
  EXPECT_NEAR(*domains.layers[0][kBaseMass], 1.0 / 6, 1e-6);
  EXPECT_NEAR(*report.with_zero.layers[1][kBaseMass], 1, 1e-6);
  // Entropy over the two that are left, from the probabilities of the first four tokens.
  double entropy = 0;
  for (const auto& [a, b] : {std::pair{.7, .1}, {.6, .1}, {.5, .25}, {.1, .8}}) {
    const double p = a / (a + b);
    entropy -= (p * std::log(p) + (1 - p) * std::log(1 - p)) / 4;
  }
  EXPECT_NEAR(*domains.layers[0][kRoutingEntropy], entropy, 1e-6);
}

TEST(StatsRoutingReport, TasksAreWeightedAlikeAndGivenAsShares) {
  const RoutingReport report = MakeRoutingReport(Record());
  EXPECT_NEAR(*report.with_zero.layers[0][kSpecialisation], 1, 1e-12);
  EXPECT_NEAR(*report.with_zero.layers[1][kSpecialisation], 0, 1e-12);
  EXPECT_NEAR(*report.with_zero.layers[0][kMutualInformation], std::log(2.0), 1e-12);
  EXPECT_FALSE(report.with_zero.layers[1][kNormalisedMutualInformation].has_value());  // one expert alone: H(expert) is 0
  ASSERT_EQ(report.with_zero.by_task.size(), 6u);
  EXPECT_NEAR(*report.with_zero.by_task[0], 0.5, 1e-12);                // a, task 0: 1 in layer 0, 0 in layer 1
  EXPECT_NEAR(*report.with_zero.by_task[3], (1.0 / 3 + 1) / 2, 1e-12);  // zero, task 1
  EXPECT_NEAR(*report.with_zero.lift[0], 2, 1e-12);                     // absent in layer 1, where nobody chose a
  RouteRecord no_tasks = Record();
  no_tasks.num_tasks = 0;
  no_tasks.tasks.clear();
  EXPECT_TRUE(MakeRoutingReport(no_tasks).with_zero.by_task.empty());
  EXPECT_FALSE(MakeRoutingReport(no_tasks).with_zero.mean[kSpecialisation].has_value());
}

TEST(StatsRoutingReport, NothingRoutedLeavesEveryFigureAbsent) {
  RouteRecord record;
  record.num_experts = 3;
  record.k = 1;
  record.layers.resize(2);
  const RoutingReport report = MakeRoutingReport(record);
  for (int f = 0; f < kFigureCount; ++f) EXPECT_FALSE(report.with_zero.mean[f].has_value()) << kFigureNames[f].id;
  EXPECT_FALSE(report.with_zero.early_late.has_value());
}

TEST(StatsRoutingReport, OneExpert) {
  RouteRecord record;
  record.num_experts = 1;
  record.k = 1;
  record.tokens = {1, 2};
  record.sequences = {0, 0};
  record.layers = {{.experts = {0, 0}, .weights = {1, 1}, .entropy = {0, 0}, .probabilities = {1, 1}}};
  const FigureRow& mean = MakeRoutingReport(record).with_zero.mean;
  EXPECT_EQ(mean[kExpertEntropy], 0);
  EXPECT_EQ(mean[kCv], 0);
  EXPECT_EQ(mean[kMinMax], 1);
  EXPECT_EQ(mean[kMaxVio], 0);
  EXPECT_EQ(mean[kRoutingEntropy], 0);
  EXPECT_EQ(mean[kSequentialConsistency], 1);
  EXPECT_EQ(mean[kTopKOverlap], 1);
  for (const Figure f : {kOverlapPosition, kOverlapVocabulary, kGramMeanAbs, kDiversity, kExpertEntropyNormalised,
                         kRoutingEntropyNormalised, kSelectedEntropy, kNormalisedMutualInformation}) {
    EXPECT_FALSE(mean[f].has_value()) << kFigureNames[f].id;
  }
}

TEST(StatsRoutingReport, CheckpointsAgreeLayerByLayer) {
  const RouteRecord a = Record();
  RouteRecord b = Record();
  b.layers[0].experts[0] = 2;
  EXPECT_NEAR(CompareRecords(a, b).same_set.value(), (5.0 / 6 + 1) / 2, 1e-12);
  EXPECT_NEAR(CompareRecords(a, b).mean_jaccard.value(), (5.0 / 6 + 1) / 2, 1e-12);
  EXPECT_EQ(CompareRecords(a, a).same_best, 1);
  b.tokens[0] = 9;
  EXPECT_FALSE(CompareRecords(a, b).same_set.has_value());
}

}  // namespace
}  // namespace switchyard
