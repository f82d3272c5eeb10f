#include "server/routing_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/testing/fake_model_runner.h"

namespace switchyard {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RoutingRequestTest : public ::testing::Test {
 protected:
  const SnapshotInfo& info() const { return snapshot_->info(); }
  void ExpectRefused(const v1::Routing& routing, absl::StatusCode code, const std::vector<std::string>& words) {
    const auto policy = PolicyOf(routing, info());
    EXPECT_EQ(policy.status().code(), code);
    for (const std::string& word : words) EXPECT_THAT(std::string(Message(policy.status())), HasSubstr(word));
  }
  // One token's routes in every layer.
  static void AddToken(v1::Routing* routing, int layers) {
    auto* token = routing->mutable_replay()->add_tokens();
    for (int l = 0; l < layers; ++l) {
      auto* layer = token->add_layers();
      layer->add_experts(l % 2);
      layer->add_weights(0.5f);
    }
  }

  FakeModelRunner runner_;
  std::shared_ptr<const Snapshot> snapshot_ = runner_.snapshot();
};

TEST_F(RoutingRequestTest, NothingAskedForIsTheLearnedRouter) {
  EXPECT_EQ(PolicyOf({}, info())->mode, RoutingPolicy::Mode::kLearned);
  EXPECT_TRUE(PolicyOf({}, info())->masked.empty());
}

TEST_F(RoutingRequestTest, MasksByName) {
  v1::Routing routing;
  routing.mutable_learned()->add_masked_experts("expert-1");
  EXPECT_THAT(PolicyOf(routing, info())->masked, ElementsAre(false, true, false, false));
}

TEST_F(RoutingRequestTest, AnUnknownExpertIsNamedWithTheKnownOnes) {
  v1::Routing routing;
  routing.set_forced_expert("astrology");
  ExpectRefused(routing, absl::StatusCode::kNotFound, {"astrology", "expert-0, expert-1, expert-2, zero"});
  routing.mutable_learned()->add_masked_experts("astrology");
  ExpectRefused(routing, absl::StatusCode::kNotFound, {"astrology"});
  (*routing.mutable_mixture()->mutable_weights())["astrology"] = 0.5f;
  ExpectRefused(routing, absl::StatusCode::kNotFound, {"astrology"});
}

// A cut character would make the message, and with it a whole ScoreStream, unreadable for the client.
TEST_F(RoutingRequestTest, ALongNameIsShownInWholeCharacters) {
  v1::Routing routing;
  routing.set_forced_expert(std::string(99, 'x') + "\u00e9\u00e9");
  ExpectRefused(routing, absl::StatusCode::kNotFound, {std::string(99, 'x') + "\" is not served"});
  routing.set_forced_expert(std::string(98, 'x') + "\u00e9\u00e9");
  ExpectRefused(routing, absl::StatusCode::kNotFound, {std::string(98, 'x') + "\u00e9\" is not served"});
}

TEST_F(RoutingRequestTest, MixtureWeightsMustBeFiniteNotNegativeAndSumToOneAtMost) {
  v1::Routing routing;
  auto& weights = *routing.mutable_mixture()->mutable_weights();
  ExpectRefused(routing, absl::StatusCode::kInvalidArgument, {"at least one weight"});
  weights["expert-0"] = 0.25f;
  weights["zero"] = 0.5f;
  EXPECT_THAT(PolicyOf(routing, info())->mixture, ElementsAre(0.25f, 0, 0, 0.5f));
  weights["expert-2"] = 0.5f;
  ExpectRefused(routing, absl::StatusCode::kInvalidArgument, {"1.25"});
  for (const float bad : {-0.1f, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    weights["expert-2"] = bad;
    ExpectRefused(routing, absl::StatusCode::kInvalidArgument, {"expert-2"});
  }
}

TEST_F(RoutingRequestTest, ReplayKeepsEverySlotAndFillsUnusedOnes) {
  v1::Routing routing;
  AddToken(&routing, 3);
  auto* second = routing.mutable_replay()->mutable_tokens(0)->mutable_layers(1);
  second->add_experts(3);
  second->add_weights(0.25f);
  const auto policy = PolicyOf(routing, info());
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(policy->replay_k, 2);
  EXPECT_THAT(policy->replay_experts, ElementsAre(0, kNoExpert, 1, 3, 0, kNoExpert));
  EXPECT_THAT(policy->replay_weights, ElementsAre(0.5f, 0, 0.5f, 0.25f, 0.5f, 0));
}

TEST_F(RoutingRequestTest, ReplayOfAnotherShapeIsRefusedWithTheShape) {
  v1::Routing routing;
  AddToken(&routing, 3);
  AddToken(&routing, 2);
  ExpectRefused(routing, absl::StatusCode::kInvalidArgument, {"tokens[1]", "3 layers", "found 2"});
  routing.clear_replay();
  AddToken(&routing, 3);
  routing.mutable_replay()->mutable_tokens(0)->mutable_layers(2)->add_weights(0.1f);
  ExpectRefused(routing, absl::StatusCode::kInvalidArgument, {"layers[2]", "1 experts but 2 weights"});
  routing.mutable_replay()->mutable_tokens(0)->mutable_layers(2)->add_experts(9);
  ExpectRefused(routing, absl::StatusCode::kInvalidArgument, {"expert index 9"});
}

// A few bytes on the wire must not become slots for every token and layer.
TEST_F(RoutingRequestTest, ReplayOfAbsurdSizeIsRefusedBeforeAnythingIsAllocated) {
  v1::Routing routing;
  AddToken(&routing, 3);
  for (int i = 0; i < 1'000'000; ++i) routing.mutable_replay()->mutable_tokens(0)->mutable_layers(0)->add_experts(0);
  ExpectRefused(routing, absl::StatusCode::kInvalidArgument, {"1000001 experts, the model has 4"});
  routing.clear_replay();
  for (int i = 0; i <= info().max_positions; ++i) AddToken(&routing, 3);
  ExpectRefused(routing, absl::StatusCode::kInvalidArgument, {"201 tokens, the model takes at most 200"});
}

TEST_F(RoutingRequestTest, WithoutRouterTheCallerMustSayHow) {
  FakeModelRunner bare({.has_router = false});
  EXPECT_EQ(PolicyOf({}, bare.snapshot()->info()).status().code(), absl::StatusCode::kFailedPrecondition);
  FakeModelRunner base_only({.num_experts = 0, .has_router = false});
  EXPECT_EQ(PolicyOf({}, base_only.snapshot()->info())->mode, RoutingPolicy::Mode::kBaseOnly);
}

TEST_F(RoutingRequestTest, PinsNameBothGenerations) {
  v1::PinnedGenerations pinned;
  EXPECT_TRUE(CheckPins(pinned, info()).ok());
  pinned.set_snapshot("generation-1");
  pinned.set_base("base-1");
  EXPECT_TRUE(CheckPins(pinned, info()).ok());
  pinned.set_router("router-7");
  const Status status = CheckPins(pinned, info());
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(Message(status)), HasSubstr("pinned.router: pinned to router-7, served is router-1"));
}

TEST_F(RoutingRequestTest, AnUnknownLevelIsRefused) {
  EXPECT_TRUE(CheckLevel(v1::ROUTE_LEVEL_TOKEN, "routes").ok());
  EXPECT_EQ(CheckLevel(static_cast<v1::RouteLevel>(9), "routes").code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace switchyard
