#include "engine/runtime/routing_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "tests/testing/fake_model_runner.h"

namespace switchyard {
namespace {

using ::testing::HasSubstr;
using Mode = RoutingPolicy::Mode;

class RuntimeRoutingPolicy : public ::testing::Test {
 protected:
  static constexpr int kLayers = 3;
  void ExpectRefused(const RoutingPolicy& policy, const std::string& why, int64_t positions = 2) {
    const Status status = ValidatePolicy(policy, info_, positions);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(Message(status)), HasSubstr(why));
  }
  static RoutingPolicy Mixture(std::vector<float> weights) {
    RoutingPolicy policy;
    policy.mode = Mode::kMixture;
    policy.mixture = std::move(weights);
    return policy;
  }
  static RoutingPolicy Replay(int32_t positions) {
    RoutingPolicy policy;
    policy.mode = Mode::kReplay;
    policy.replay_k = 2;
    for (int i = 0; i < positions * kLayers; ++i) {
      policy.replay_experts.insert(policy.replay_experts.end(), {1, kNoExpert});
      policy.replay_weights.insert(policy.replay_weights.end(), {0.5f, 0});
    }
    return policy;
  }

  SnapshotInfo info_ = FakeModelRunner().snapshot()->info();  // 4 experts, 3 layers
};

TEST_F(RuntimeRoutingPolicy, AcceptsWhatTheModelCanServe) {
  EXPECT_TRUE(ValidatePolicy({}, info_, 10).ok());
  EXPECT_TRUE(ValidatePolicy({.masked = {true, false, true, true}}, info_, 10).ok());
  EXPECT_TRUE(ValidatePolicy({.mode = Mode::kBaseOnly}, info_, 10).ok());
  EXPECT_TRUE(ValidatePolicy({.mode = Mode::kForced, .forced = 3}, info_, 10).ok());
  EXPECT_TRUE(ValidatePolicy(Mixture({0.25f, 0.25f, 0.25f, 0.25f}), info_, 10).ok());
  EXPECT_TRUE(ValidatePolicy(Mixture({0, 0, 0, 0}), info_, 10).ok());
  EXPECT_TRUE(ValidatePolicy(Replay(2), info_, 2).ok());
}

TEST_F(RuntimeRoutingPolicy, RefusesUnknownExpertsAndWrongSizes) {
  ExpectRefused({.mode = Mode::kForced, .forced = 4}, "expert 4 does not exist");
  ExpectRefused({.mode = Mode::kForced}, "expert -1 does not exist");
  ExpectRefused({.masked = {true}}, "mask has 1 entries");
  ExpectRefused(Mixture({1}), "mixture has 1 weights");
}

TEST_F(RuntimeRoutingPolicy, RefusesWeightsThatAreNoMixture) {
  ExpectRefused(Mixture({0.5f, 0.5f, 0.1f, 0}), "sum to 1.1");
  ExpectRefused(Mixture({-0.1f, 0, 0, 0}), "\"expert-0\" is -0.1");
  ExpectRefused(Mixture({0, std::numeric_limits<float>::quiet_NaN(), 0, 0}), "\"expert-1\" is nan");
  ExpectRefused(Mixture({0, 0, std::numeric_limits<float>::infinity(), 0}), "\"expert-2\" is inf");
  EXPECT_TRUE(ValidatePolicy(Mixture({0.1f, 0.2f, 0.3f, 0.4f}), info_, 1).ok());  // rounds to a little above 1
}

TEST_F(RuntimeRoutingPolicy, LearnedNeedsARouter) {
  info_.router_kind.clear();
  ExpectRefused({}, "no router");
  EXPECT_TRUE(ValidatePolicy({.mode = Mode::kBaseOnly}, info_, 1).ok());
}

TEST_F(RuntimeRoutingPolicy, RefusesBrokenReplays) {
  ExpectRefused(Replay(2), "cover 2 tokens, expected the 3", 3);
  RoutingPolicy policy = Replay(2);
  policy.replay_weights.pop_back();
  ExpectRefused(policy, "12 experts and 11 weights");
  policy = Replay(2);
  policy.replay_k = 0;
  ExpectRefused(policy, "0 slots");
  policy.replay_k = 5;
  ExpectRefused(policy, "5 slots");
  policy = Replay(2);
  policy.replay_experts[8] = 4;
  ExpectRefused(policy, "token 1, layer 1 name expert 4");
  policy = Replay(2);
  policy.replay_experts[9] = 1;
  ExpectRefused(policy, "token 1, layer 1 name expert 1 twice");
  policy = Replay(2);
  policy.replay_weights[0] = -1;
  ExpectRefused(policy, "token 0, layer 0 hold the weight -1");
  policy.replay_weights[0] = 3e38f;
  ExpectRefused(policy, "token 0, layer 0 hold the weight 3e+38, expected 0 to 1");
  policy.replay_weights[0] = std::numeric_limits<float>::quiet_NaN();
  ExpectRefused(policy, "expected 0 to 1");
}

TEST_F(RuntimeRoutingPolicy, KeysDifferWhereRoutesMay) {
  const std::vector<RoutingPolicy> policies = {{},
                                               {.masked = {true, false, false, false}},
                                               {.masked = {false, true, false, false}},
                                               {.mode = Mode::kBaseOnly},
                                               {.mode = Mode::kForced, .forced = 0},
                                               {.mode = Mode::kForced, .forced = 1},
                                               Mixture({0.5f, 0, 0, 0}),
                                               Mixture({0.50000006f, 0, 0, 0}),
                                               Mixture({0, 0.5f, 0, 0}),
                                               Replay(1)};
  std::set<std::string> keys;
  for (const RoutingPolicy& policy : policies) keys.insert(policy.CacheKey());
  EXPECT_EQ(keys.size(), policies.size());
}

TEST_F(RuntimeRoutingPolicy, KeysAreEqualWhereRoutesAre) {
  EXPECT_EQ(RoutingPolicy{.masked = std::vector<bool>(4, false)}.CacheKey(), RoutingPolicy{}.CacheKey());
  EXPECT_EQ(Mixture({0.5f, -0.0f, 0, 0}).CacheKey(), Mixture({0.5f, 0, 0, 0}).CacheKey());
}

}  // namespace
}  // namespace switchyard
