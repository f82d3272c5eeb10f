#include "engine/routing/selection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace switchyard {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::HasSubstr;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr int16_t kUnused = LayerRoutes::kUnused;

// The route of one row with `slots` slots (at least top_k).
LayerRoutes Select(const std::vector<float>& logits, const SelectionRule& rule, const std::vector<bool>& masked = {}, int32_t slots = 0) {
  LayerRoutes routes;
  routes.Resize(1, std::max(slots, rule.top_k));
  const Status status = SelectRow(logits, rule, masked, 0, &routes);
  EXPECT_TRUE(status.ok()) << status;
  return routes;
}

Status TrySelect(const std::vector<float>& logits, const SelectionRule& rule, const std::vector<bool>& masked = {}) {
  LayerRoutes routes;
  routes.Resize(1, std::max(1, rule.top_k));
  return SelectRow(logits, rule, masked, 0, &routes);
}

const std::vector<float> kLogits = {2, 1, 0, -1, .5f};  // p = .563021 .207124 .076197 .028031 .125627

TEST(SelectionTest, PublishedVectorRenormalised) {
  const LayerRoutes routes = Select(kLogits, {2, WeightMode::kRenorm});
  EXPECT_THAT(routes.experts, ElementsAre(0, 1));
  EXPECT_THAT(routes.weights, ElementsAre(FloatNear(.731059f, 1e-6f), FloatNear(.268941f, 1e-6f)));
  EXPECT_NEAR(routes.entropy[0], 1.206489, 1e-6);
  EXPECT_NEAR(routes.margin[0], .207124 - .125627, 1e-6);
}

TEST(SelectionTest, PublishedVectorRawProbabilities) {
  const LayerRoutes routes = Select(kLogits, {3, WeightMode::kRaw});
  EXPECT_THAT(routes.experts, ElementsAre(0, 1, 4));
  EXPECT_THAT(routes.weights, ElementsAre(FloatNear(.563021f, 1e-6f), FloatNear(.207124f, 1e-6f), FloatNear(.125627f, 1e-6f)));
  EXPECT_NEAR(routes.margin[0], .125627 - .076197, 1e-6);
}

TEST(SelectionTest, EqualWeights) {
  const LayerRoutes routes = Select(kLogits, {4, WeightMode::kOne});
  EXPECT_THAT(routes.experts, ElementsAre(0, 1, 4, 2));
  EXPECT_THAT(routes.weights, ElementsAre(.25f, .25f, .25f, .25f));
}

TEST(SelectionTest, TopOneRenormalisedWeighsExactlyOne) {
  EXPECT_THAT(Select(kLogits, {1, WeightMode::kRenorm}).weights, ElementsAre(1.0f));
}

TEST(SelectionTest, TiesGoToTheLowestIndex) {
  const LayerRoutes routes = Select({0, 0, 0, 0}, {2, WeightMode::kRenorm});
  EXPECT_THAT(routes.experts, ElementsAre(0, 1));
  EXPECT_THAT(routes.weights, ElementsAre(.5f, .5f));
  EXPECT_EQ(routes.margin[0], 0);
  EXPECT_NEAR(routes.entropy[0], std::log(4.0), 1e-6);
  EXPECT_THAT(Select({-1, 3, 3, 0, 3}, {2, WeightMode::kRenorm}).experts, ElementsAre(1, 2));
}

TEST(SelectionTest, MaskIsAppliedBeforeTheSoftmax) {
  const LayerRoutes routes = Select(kLogits, {2, WeightMode::kRaw}, {true, false, false, true, false});
  const double sum = std::exp(1) + std::exp(0) + std::exp(.5);
  EXPECT_THAT(routes.experts, ElementsAre(1, 4));
  EXPECT_NEAR(routes.weights[0], std::exp(1) / sum, 1e-6);
  EXPECT_NEAR(routes.weights[1], std::exp(.5) / sum, 1e-6);
  EXPECT_NEAR(routes.margin[0], (std::exp(.5) - 1) / sum, 1e-6);  // expert 2 is the best refused, not the masked 0
}

TEST(SelectionTest, MinusInfinityCountsAsMasked) {
  const LayerRoutes by_logit = Select({-kInf, 1, 0, -kInf, .5f}, {2, WeightMode::kRaw});
  const LayerRoutes by_mask = Select(kLogits, {2, WeightMode::kRaw}, {true, false, false, true, false});
  EXPECT_EQ(by_logit.experts, by_mask.experts);
  EXPECT_EQ(by_logit.weights, by_mask.weights);
  EXPECT_EQ(by_logit.entropy, by_mask.entropy);
}

TEST(SelectionTest, KIsClampedToTheRoutableExperts) {
  const LayerRoutes routes = Select(kLogits, {4, WeightMode::kOne}, {true, false, true, true, false});
  EXPECT_THAT(routes.experts, ElementsAre(1, 4, kUnused, kUnused));
  EXPECT_THAT(routes.weights, ElementsAre(.5f, .5f, 0, 0));
  EXPECT_EQ(routes.margin[0], kInf);
}

TEST(SelectionTest, AllMaskedLeavesTheRowToTheBase) {
  const LayerRoutes routes = Select(kLogits, {2, WeightMode::kRenorm}, std::vector<bool>(5, true));
  EXPECT_THAT(routes.experts, ElementsAre(kUnused, kUnused));
  EXPECT_THAT(routes.weights, ElementsAre(0, 0));
  EXPECT_EQ(routes.margin[0], kInf);
  EXPECT_TRUE(std::isnan(routes.entropy[0]));
}

TEST(SelectionTest, OnlyExpertHasNoEntropyAndNothingRefused) {
  const LayerRoutes routes = Select({7}, {1, WeightMode::kRaw});
  EXPECT_THAT(routes.weights, ElementsAre(1.0f));
  EXPECT_EQ(routes.entropy[0], 0);
  EXPECT_EQ(routes.margin[0], kInf);
}

TEST(SelectionTest, OverwritesWhatTheRowHeldAndNoOther) {
  LayerRoutes routes;
  routes.Resize(3, 3);
  std::fill(routes.experts.begin(), routes.experts.end(), int16_t{9});
  std::fill(routes.weights.begin(), routes.weights.end(), 9.0f);
  ASSERT_TRUE(SelectRow(kLogits, {1, WeightMode::kRenorm}, {}, 1, &routes).ok());
  EXPECT_THAT(routes.experts, ElementsAre(9, 9, 9, 0, kUnused, kUnused, 9, 9, 9));
  EXPECT_THAT(routes.weights, ElementsAre(9, 9, 9, 1, 0, 0, 9, 9, 9));
}

TEST(SelectionTest, LogitsThatAreNotNumbersAreOurError) {
  EXPECT_EQ(TrySelect({0, kNan, 1}, {1}).code(), absl::StatusCode::kInternal);
  EXPECT_EQ(TrySelect({0, kInf, 1}, {1}).code(), absl::StatusCode::kInternal);
  EXPECT_EQ(TrySelect({0, kNan, 1}, {1}, {false, true, false}).code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(Message(TrySelect({0, kNan, 1}, {1}))), HasSubstr("expert 1"));
}

// p = .563 .207 .076 .028 .126: with the bias 4 leads, then 1; the weights are those of p alone.
TEST(SelectionTest, ABiasDecidesWhoIsChosenAndNoWeight) {
  const std::vector<float> bias = {-.5f, .1f, 0, 0, .3f};
  LayerRoutes routes;
  routes.Resize(1, 2);
  ASSERT_TRUE(SelectRow(kLogits, {2, WeightMode::kRaw}, {}, 0, &routes, bias).ok());
  EXPECT_THAT(routes.experts, ElementsAre(4, 1));
  EXPECT_NEAR(routes.weights[0], .125627, 1e-5);
  EXPECT_NEAR(routes.weights[1], .207124, 1e-5);
  EXPECT_NEAR(routes.margin[0], .307124 - .076197, 1e-5);
  EXPECT_NEAR(routes.entropy[0], 1.206489, 1e-5);  // of p
  // Below every probability: the last resort, but routable; a masked expert is not.
  const std::vector<float> low = {-9, -9, -9, -9, -9};
  ASSERT_TRUE(SelectRow(kLogits, {2, WeightMode::kRenorm}, {true, false, true, true, true}, 0, &routes, low).ok());
  EXPECT_THAT(routes.experts, ElementsAre(1, kUnused));
  EXPECT_EQ(SelectRow(kLogits, {2}, {}, 0, &routes, std::vector<float>{1, 2}).code(), absl::StatusCode::kInternal);
}

TEST(SelectionTest, ArgumentsThatDoNotFitAreOurError) {
  LayerRoutes routes;
  routes.Resize(1, 1);
  EXPECT_EQ(SelectRow(kLogits, {2}, {}, 0, &routes).code(), absl::StatusCode::kInternal);
  EXPECT_EQ(SelectRow(kLogits, {1}, {}, 1, &routes).code(), absl::StatusCode::kInternal);
  EXPECT_EQ(SelectRow(kLogits, {1}, {true}, 0, &routes).code(), absl::StatusCode::kInternal);
  EXPECT_EQ(SelectRow({}, {1}, {}, 0, &routes).code(), absl::StatusCode::kInternal);
}

TEST(SelectionTest, ExtremeLogitsStayFinite) {
  const LayerRoutes routes = Select({-3e38f, 3e38f, 0}, {2, WeightMode::kRenorm});
  EXPECT_THAT(routes.experts, ElementsAre(1, 0));  // 0 and 2 both underflow to p = 0: the lowest index
  EXPECT_THAT(routes.weights, ElementsAre(1.0f, 0.0f));
  EXPECT_EQ(routes.entropy[0], 0);
}

TEST(SelectionTest, Bf16RoundingMakesTies) {
  // p = .2501 and .2499 are one bf16 value; in fp32 the second is the larger.
  const std::vector<float> logits = {0, .0008f, 0, 0};
  EXPECT_THAT(Select(logits, {1, WeightMode::kRaw}).experts, ElementsAre(1));
  const LayerRoutes rounded = Select(logits, {1, WeightMode::kRaw, true});
  EXPECT_THAT(rounded.experts, ElementsAre(0));
  EXPECT_EQ(rounded.weights[0], .25f);
  EXPECT_EQ(rounded.margin[0], 0);
}

TEST(SelectionTest, Bf16RoundsToNearestEven) {
  const LayerRoutes routes = Select(kLogits, {2, WeightMode::kRaw, true});
  EXPECT_EQ(routes.weights[0], .5625f);      // .563021 between .5625 and .56640625
  EXPECT_EQ(routes.weights[1], .20703125f);  // .207124
}

TEST(SelectionTest, WeightModesByName) {
  EXPECT_EQ(*ParseWeightMode("renorm"), WeightMode::kRenorm);
  EXPECT_EQ(*ParseWeightMode("raw"), WeightMode::kRaw);
  EXPECT_EQ(*ParseWeightMode("one"), WeightMode::kOne);
  EXPECT_EQ(ParseWeightMode("softmax").status().code(), absl::StatusCode::kInvalidArgument);
}

// Against the formulas in double, with a full sort.
TEST(SelectionTest, EqualsThePlainFormulasOnRandomLogits) {
  std::mt19937 random(11);
  std::normal_distribution<float> normal(0, 2);
  for (int round = 0; round < 500; ++round) {
    const size_t experts = 1 + random() % 17;
    std::vector<float> logits(experts);
    std::vector<bool> masked(experts);
    for (size_t e = 0; e < experts; ++e) {
      logits[e] = normal(random);
      masked[e] = random() % 4 == 0;
    }
    const SelectionRule rule{static_cast<int32_t>(1 + random() % 4), static_cast<WeightMode>(random() % 3)};
    std::vector<size_t> order;
    double sum = 0, entropy = 0, selected_sum = 0;
    for (size_t e = 0; e < experts; ++e) {
      if (!masked[e]) order.push_back(e);
      if (!masked[e]) sum += std::exp(double{logits[e]});
    }
    for (const size_t e : order) entropy -= std::exp(double{logits[e]}) / sum * std::log(std::exp(double{logits[e]}) / sum);
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return logits[a] > logits[b]; });
    const size_t selected = std::min<size_t>(order.size(), rule.top_k);
    for (size_t s = 0; s < selected; ++s) selected_sum += std::exp(double{logits[order[s]]}) / sum;

    const LayerRoutes routes = Select(logits, rule, masked);
    for (size_t s = 0; s < static_cast<size_t>(rule.top_k); ++s) {
      if (s >= selected) {
        EXPECT_EQ(routes.experts[s], kUnused);
        continue;
      }
      const double p = std::exp(double{logits[order[s]]}) / sum;
      const double weight = rule.weight_mode == WeightMode::kRenorm ? p / selected_sum
                            : rule.weight_mode == WeightMode::kRaw  ? p
                                                                    : 1.0 / selected;
      EXPECT_EQ(routes.experts[s], static_cast<int16_t>(order[s]));
      EXPECT_NEAR(routes.weights[s], weight, 1e-6);
    }
    if (!order.empty()) {
      EXPECT_NEAR(routes.entropy[0], entropy, 2e-6);
    }
    if (selected > 0 && selected < order.size()) {
      EXPECT_NEAR(routes.margin[0], (std::exp(double{logits[order[selected - 1]]}) - std::exp(double{logits[order[selected]]})) / sum,
                  1e-6);
    }
  }
}

TEST(Selection, AFloorRefusesWhoIsBelowIt) {
  LayerRoutes routes;
  routes.Resize(1, 2);
  const std::vector<float> logits = {std::log(.5f), std::log(.3f), std::log(.2f)};
  ASSERT_TRUE(SelectRow(logits, {2, WeightMode::kRaw}, {}, 0, &routes, {}, std::vector<float>{.6f, .25f, .19f}).ok());
  EXPECT_EQ(routes.experts, (std::vector<int16_t>{1, 2}));
  EXPECT_NEAR(routes.weights[0], .3f, 1e-6);
  EXPECT_NEAR(routes.margin[0], .01f, 1e-6);
  ASSERT_TRUE(SelectRow(logits, {2, WeightMode::kRenorm}, {}, 0, &routes, {}, std::vector<float>{.9f, .9f, .9f}).ok());
  EXPECT_EQ(routes.experts, (std::vector<int16_t>{LayerRoutes::kUnused, LayerRoutes::kUnused}));
  EXPECT_EQ(SelectRow(logits, {2}, {}, 0, &routes, {}, std::vector<float>{1, 2}).code(), absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace switchyard
