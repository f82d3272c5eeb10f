#include "engine/runner/step_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <numeric>
#include <string>

namespace switchyard {
namespace {

using ::testing::HasSubstr;

// A good step of two sequences, 3 and 2 rows, over 32 slots; tests break one thing.
class StepCheckTest : public ::testing::Test {
 protected:
  StepCheckTest() {
    info_.vocab_size = 10;
    info_.num_layers = 2;
    info_.experts.resize(3);
    std::iota(first_.begin(), first_.end(), 0);
    std::iota(second_.begin(), second_.end(), 20);
    step_.tokens = {1, 2, 3, 4, 5};
    step_.segments = {{0, 3, first_, &policy_}, {3, 5, second_, &other_}};
    step_.logits = {{4}};
    step_.logprobs = {{0, 9}};
    step_.top_logprobs = {{2, 3}};
    other_.mode = RoutingPolicy::Mode::kBaseOnly;
  }
  Status Check(bool has_router = true) { return check_.Check(step_, info_, has_router); }
  void ExpectRefused(const std::string& part, bool has_router = true) {
    const Status status = Check(has_router);
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
    EXPECT_THAT(std::string(Message(status)), HasSubstr(part));
  }

  SnapshotInfo info_;
  std::vector<int32_t> first_ = std::vector<int32_t>(6), second_ = std::vector<int32_t>(2);
  RoutingPolicy policy_, other_;
  Step step_;
  StepCheck check_{32, 16};
};

TEST_F(StepCheckTest, AcceptsAGoodStepAgainAndAgain) {
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Check().ok()) << Check();
}

TEST_F(StepCheckTest, RefusesEmptySteps) {
  step_ = {};
  ExpectRefused("without rows");
}

TEST_F(StepCheckTest, RefusesTokensOutsideTheVocabulary) {
  for (const TokenId token : {-1, 10}) {
    step_.tokens[3] = token;
    ExpectRefused("row 3: token " + std::to_string(token));
  }
}

TEST_F(StepCheckTest, RefusesSegmentsThatDoNotTile) {
  step_.segments[1].begin = 2;
  ExpectRefused("segment 1: rows [2, 5)");
  step_.segments[1] = {3, 4, second_, &other_};
  ExpectRefused("segments cover 4 of 5");
  step_.segments[1] = {3, 6, second_, &other_};
  ExpectRefused("segment 1: rows [3, 6)");
  step_.segments[1] = {3, 3, second_, &other_};
  ExpectRefused("segment 1: rows [3, 3)");
}

TEST_F(StepCheckTest, RefusesSlotsOutsideThePool) {
  for (const int32_t slot : {-1, 32}) {
    first_[1] = slot;
    ExpectRefused("segment 0: position 1 is in KV slot " + std::to_string(slot));
  }
}

TEST_F(StepCheckTest, RefusesASlotWrittenTwice) {
  second_[0] = first_[4];
  ExpectRefused("written by two rows");
}

TEST_F(StepCheckTest, RefusesMorePositionsThanTheModelHas) {
  first_.resize(17);
  std::iota(first_.begin(), first_.end(), 0);
  step_.segments[0].slots = first_;
  ExpectRefused("17 positions, the model has 16");
}

TEST_F(StepCheckTest, RefusesFewerSlotsThanRows) {
  step_.segments[0].slots = std::span<const int32_t>(first_).first(2);
  ExpectRefused("segment 0: 3 rows but 2 KV slots");
}

TEST_F(StepCheckTest, RefusesPoliciesTheSnapshotCannotFollow) {
  ExpectRefused("without router", /*has_router=*/false);
  policy_.masked = {true};
  ExpectRefused("mask of 1");
  policy_ = {};
  policy_.mode = RoutingPolicy::Mode::kForced;
  for (const ExpertIndex expert : {-1, 3}) {
    policy_.forced = expert;
    ExpectRefused("forced expert");
  }
  policy_.mode = RoutingPolicy::Mode::kMixture;
  for (const auto& [mixture, part] : {std::pair<std::vector<float>, std::string>{{0.5f}, "mixture of 1"},
                                      {{-0.1f, 0, 0}, "weight -0.1"},
                                      {{0.5f, 0.4f, 0.2f}, "sum to 1.1"},
                                      {{std::numeric_limits<float>::quiet_NaN(), 0, 0}, "weight nan"}}) {
    policy_.mixture = mixture;
    ExpectRefused(part);
  }
  step_.segments[1].policy = nullptr;
  policy_ = {};
  ExpectRefused("segment 1: no routing policy");
}

TEST_F(StepCheckTest, RefusesRecordedRoutesThatDoNotFit) {
  policy_.mode = RoutingPolicy::Mode::kReplay;
  ExpectRefused("malformed");
  policy_.replay_k = 1;
  policy_.replay_experts.assign(6 * 2, 2);
  policy_.replay_weights.assign(6 * 2, 1.0f);
  EXPECT_TRUE(Check().ok()) << Check();
  policy_.replay_experts[8] = 3;
  ExpectRefused("recorded expert 3");
  policy_.replay_experts.assign(5 * 2, 2);
  policy_.replay_weights.assign(5 * 2, 1.0f);
  ExpectRefused("end before position 6");
}

TEST_F(StepCheckTest, RefusesQueriesOutsideTheStep) {
  step_.logits[0].row = 5;
  ExpectRefused("logits query 0 asks for row 5 of 5");
  step_.logits.clear();
  step_.logprobs[0].row = -1;
  ExpectRefused("log-probability query 0");
  step_.logprobs[0] = {0, 10};
  ExpectRefused("token 10 of a vocabulary of 10");
  step_.logprobs.clear();
  step_.top_logprobs[0].count = -2;
  ExpectRefused("-2 most likely");
}

}  // namespace
}  // namespace switchyard
