#include "engine/runtime/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

namespace switchyard {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TokenId Draw(const SamplingParams& params, const std::vector<float>& logits, int64_t position, const std::vector<TokenId>& prompt = {}) {
  Sampler sampler(params, prompt);
  return sampler.Next(logits, position).value();
}

// How often each token is drawn over many positions.
std::map<TokenId, int> Histogram(const SamplingParams& params, const std::vector<float>& logits, int draws) {
  std::map<TokenId, int> histogram;
  for (int i = 0; i < draws; ++i) ++histogram[Draw(params, logits, i)];
  return histogram;
}

std::vector<float> Log(const std::vector<float>& probabilities) {
  std::vector<float> logits;
  for (const float p : probabilities) logits.push_back(std::log(p));
  return logits;
}

TEST(Sampler, GreedyTakesTheLowestIdOfTies) {
  EXPECT_EQ(Draw({}, {1, 3, 3, 2}, 0), 1);
  EXPECT_EQ(Draw({}, {-kInfinity, -5, -kInfinity}, 0), 1);
}

TEST(Sampler, PenaltyDividesPositiveAndMultipliesNegativeLogits) {
  const SamplingParams params{.repetition_penalty = 2.0f};
  EXPECT_EQ(Draw(params, {3.0f, 2.0f, -1.0f}, 0, {0}), 1);        // 3 / 2 < 2
  EXPECT_EQ(Draw(params, {-1.0f, -1.5f, -9.0f}, 0, {0}), 1);      // -1 * 2 < -1.5
  EXPECT_EQ(Draw(params, {3.0f, 1.4f, -1.0f}, 0, {0, 0, 0}), 0);  // once, however often it occurred
}

TEST(Sampler, PenaltyCountsGeneratedTokensToo) {
  Sampler sampler({.repetition_penalty = 2.0f}, {});
  EXPECT_EQ(*sampler.Next(std::vector<float>{3, 2}, 0), 0);
  EXPECT_EQ(*sampler.Next(std::vector<float>{3, 2}, 1), 1);
  EXPECT_EQ(*sampler.Next(std::vector<float>{3, 2}, 2), 0);
}

TEST(Sampler, FrequenciesFollowTheProbabilities) {
  const auto histogram = Histogram({.temperature = 1.0f, .seed = 3}, Log({0.5f, 0.3f, 0.2f}), 20000);
  EXPECT_NEAR(histogram.at(0), 10000, 350);
  EXPECT_NEAR(histogram.at(1), 6000, 350);
  EXPECT_NEAR(histogram.at(2), 4000, 350);
}

TEST(Sampler, TemperatureSharpens) {
  const auto histogram = Histogram({.temperature = 0.5f, .seed = 3}, Log({0.6f, 0.4f}), 20000);
  EXPECT_NEAR(histogram.at(0), 20000 * 0.36 / (0.36 + 0.16), 400);
  EXPECT_EQ(Draw({.temperature = 1e-30f, .seed = 8}, {1, 2, 1.5f}, 4), 1);
}

TEST(Sampler, TopKKeepsTiesWithTheLast) {
  const auto two = Histogram({.temperature = 1.0f, .top_k = 2}, {1.0f, 2.0f, 3.0f, 0.0f}, 2000);
  EXPECT_EQ(two.size(), 2u);
  EXPECT_TRUE(two.contains(1) && two.contains(2));
  EXPECT_EQ(Histogram({.temperature = 1.0f, .top_k = 2}, {1.0f, 1.0f, 3.0f, 0.0f}, 2000).size(), 3u);
  EXPECT_EQ(Histogram({.temperature = 1.0f, .top_k = 99}, {1.0f, 1.0f}, 2000).size(), 2u);
}

TEST(Sampler, TopPKeepsTheSmallestSufficientSet) {
  const auto logits = Log({0.1f, 0.5f, 0.3f, 0.1f});
  EXPECT_EQ(Histogram({.temperature = 1.0f, .top_p = 0.4f}, logits, 2000).size(), 1u);
  EXPECT_EQ(Histogram({.temperature = 1.0f, .top_p = 0.75f}, logits, 2000).size(), 2u);
  const auto three = Histogram({.temperature = 1.0f, .top_p = 0.85f}, logits, 2000);
  EXPECT_EQ(three.size(), 3u);
  EXPECT_TRUE(three.contains(0));  // the lower id of the tie
  EXPECT_EQ(Histogram({.temperature = 1.0f, .top_p = 1e-9f}, logits, 100).size(), 1u);
}

TEST(Sampler, TopPOverALongVocabulary) {
  std::vector<float> logits(5000);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = i % 2 == 0 ? 0.0f : -1e-3f;  // nearly flat: half of it is more than one piece
  const auto histogram = Histogram({.temperature = 1.0f, .top_p = 0.25f}, logits, 3000);
  for (const auto& [token, count] : histogram) {
    EXPECT_EQ(token % 2, 0);
    EXPECT_LT(token, 2510);
  }
  EXPECT_GT(histogram.size(), 500u);
}

TEST(Sampler, MinPIsRelativeToTheBest) {
  const auto logits = Log({0.5f, 0.3f, 0.15f, 0.05f});
  EXPECT_EQ(Histogram({.temperature = 1.0f, .min_p = 0.25f}, logits, 3000).size(), 3u);
  EXPECT_EQ(Histogram({.temperature = 1.0f, .min_p = 0.99f}, logits, 3000).size(), 1u);
}

TEST(Sampler, ATokenDependsOnSeedAndPositionAlone) {
  const std::vector<float> logits(50, 0.0f);
  const SamplingParams params{.temperature = 1.0f, .seed = 17};
  Sampler long_running(params, {});
  for (int i = 0; i < 20; ++i) EXPECT_EQ(*long_running.Next(logits, i), Draw(params, logits, i));
  int same = 0;
  for (int i = 0; i < 200; ++i) same += Draw(params, logits, i) == Draw({.temperature = 1.0f, .seed = 18}, logits, i);
  EXPECT_LT(same, 20);
}

TEST(Sampler, NotANumberIsAnError) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity}) {
    Sampler sampler({}, {});
    EXPECT_EQ(sampler.Next(std::vector<float>{1, bad, 2}, 0).status().code(), absl::StatusCode::kInternal);
  }
  Sampler sampler({}, {});
  EXPECT_EQ(sampler.Next(std::vector<float>{-kInfinity, -kInfinity}, 0).status().code(), absl::StatusCode::kInternal);
}

TEST(Sampler, RefusesSettingsOutsideTheirRange) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(ValidateSampling({}).ok());
  for (const SamplingParams& bad :
       {SamplingParams{.temperature = -1}, SamplingParams{.temperature = nan}, SamplingParams{.temperature = kInfinity},
        SamplingParams{.top_k = -1}, SamplingParams{.top_p = 0}, SamplingParams{.top_p = 1.1f}, SamplingParams{.top_p = nan},
        SamplingParams{.min_p = 1}, SamplingParams{.min_p = -0.1f}, SamplingParams{.min_p = nan}, SamplingParams{.repetition_penalty = 0},
        SamplingParams{.repetition_penalty = nan}}) {
    EXPECT_EQ(ValidateSampling(bad).code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(Sampler, UniformNumbersAreUniform) {
  double sum = 0;
  for (uint64_t i = 0; i < 20000; ++i) {
    const double u = CounterUniform(1, i);
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    sum += u;
  }
  EXPECT_NEAR(sum / 20000, 0.5, 0.01);
}

}  // namespace
}  // namespace switchyard
