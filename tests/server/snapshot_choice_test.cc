#include "server/snapshot_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/fake_model_runner.h"

namespace switchyard {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class SnapshotChoiceTest : public ::testing::Test {
 protected:
  SnapshotChoiceTest() {
    FakeModelRunner runner;
    SnapshotInfo info = runner.snapshot()->info();
    serving_.stable = std::make_shared<FakeSnapshot>(info);
    info.generation = "generation-2";
    info.router_generation = "router-2";
    canary_ = std::make_shared<FakeSnapshot>(info);
  }
  std::string Chosen(const std::string& key, const v1::PinnedGenerations& pinned = {}) const {
    const auto chosen = ChooseSnapshot(serving_, pinned, key);
    return chosen.ok() ? (*chosen)->info().generation : std::string(Message(chosen.status()));
  }
  ServingSet serving_;
  std::shared_ptr<const Snapshot> canary_;
};

TEST_F(SnapshotChoiceTest, WithoutACanaryEverythingIsStable) {
  EXPECT_EQ(Chosen("a"), "generation-1");
  EXPECT_EQ(Chosen(""), "generation-1");
}

TEST_F(SnapshotChoiceTest, TheCanaryGetsItsShareOfKeysAndKeepsThem) {
  serving_.canary = canary_;
  serving_.canary_share = 0.2;
  int canary = 0;
  for (int i = 0; i < 20000; ++i) {
    const std::string key = "request-" + std::to_string(i), first = Chosen(key);
    EXPECT_EQ(Chosen(key), first);
    canary += first == "generation-2";
  }
  EXPECT_NEAR(canary, 4000, 200);  // 3.5 standard deviations
  // A wider share keeps whoever was in the narrower one.
  ServingSet wider = serving_;
  wider.canary_share = 0.5;
  for (int i = 0; i < 1000; ++i) {
    const std::string key = "request-" + std::to_string(i);
    if (Chosen(key) != "generation-2") continue;
    EXPECT_EQ((*ChooseSnapshot(wider, {}, key))->info().generation, "generation-2");
  }
}

TEST_F(SnapshotChoiceTest, RequestsWithoutAKeyAreDrawn) {
  serving_.canary = canary_;
  serving_.canary_share = 0.5;
  int canary = 0;
  for (int i = 0; i < 2000; ++i) canary += Chosen("") == "generation-2";
  EXPECT_NEAR(canary, 1000, 150);
}

TEST_F(SnapshotChoiceTest, PinsChooseTheSideThatHasThem) {
  serving_.canary = canary_;
  serving_.canary_share = 1;
  v1::PinnedGenerations pinned;
  pinned.set_router("router-1");
  EXPECT_EQ(Chosen("a", pinned), "generation-1");
  pinned.set_router("router-2");
  EXPECT_EQ(Chosen("a", pinned), "generation-2");
  serving_.canary_share = 0;
  EXPECT_EQ(Chosen("a", pinned), "generation-2");
  pinned.set_router("router-3");
  EXPECT_THAT(Chosen("a", pinned), AllOf(HasSubstr("router-3"), HasSubstr("router-1"), HasSubstr("router-2")));
  serving_.canary = nullptr;
  pinned.set_router("router-2");
  EXPECT_THAT(Chosen("a", pinned), HasSubstr("router-1"));
}

// The position of a key is a promise to whoever compares two runs: it must not change between versions or machines.
TEST_F(SnapshotChoiceTest, KeyPositionsAreFixed) {
  EXPECT_NEAR(KeyPosition("user-1"), KeyPosition(std::string("user-1")), 0);
  EXPECT_GE(KeyPosition(""), 0);
  EXPECT_LT(KeyPosition("zzzz"), 1);
  EXPECT_NE(KeyPosition("a"), KeyPosition("b"));
}

}  // namespace
}  // namespace switchyard
