#include "engine/runtime/task_validation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/runtime/engine_fixture.h"

namespace switchyard {
namespace {

using ::testing::HasSubstr;

class RuntimeTaskValidation : public ::testing::Test {
 protected:
  static void ExpectRefused(const Status& status, const std::string& why) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(Message(status)), HasSubstr(why));
  }
  Status Check(const GenerateTask& task) { return ValidateGenerate(task, info_, geometry_); }
  Status Check(const ScoreTask& task) { return ValidateScore(task, info_, geometry_).status(); }
  Status Check(const RouteTask& task) { return ValidateRoute(task, info_, geometry_); }
  static RouteTask RouteOf(std::vector<TokenId> tokens) {
    RouteTask task;
    task.tokens = std::move(tokens);
    return task;
  }

  SnapshotInfo info_ = FakeModelRunner().snapshot()->info();  // 61 tokens, 200 positions
  KvGeometry geometry_{.block_tokens = 4, .num_blocks = 64, .bytes_per_token = 1};
};

TEST_F(RuntimeTaskValidation, Generate) {
  EXPECT_TRUE(Check(GenerateOf(Tokens(199), 1)).ok());
  ExpectRefused(Check(GenerateOf({}, 1)), "no tokens");
  ExpectRefused(Check(GenerateOf(Tokens(199), 2)), "201 tokens, the model takes at most 200");
  ExpectRefused(Check(GenerateOf(Tokens(3), std::numeric_limits<int32_t>::max())), "the model takes at most 200");
  ExpectRefused(Check(GenerateOf(Tokens(3), 0)), "max_new_tokens is 0");
  ExpectRefused(Check(GenerateOf({3, 61}, 1)), "token 1 has the id 61, expected 0 to 60");
  ExpectRefused(Check(GenerateOf({-1}, 1)), "token 0 has the id -1");
  GenerateTask task = GenerateOf(Tokens(3), 1);
  task.stop_tokens = {99};
  ExpectRefused(Check(task), "stop_tokens");
  task = GenerateOf(Tokens(3), 1);
  task.top_logprobs = 62;
  ExpectRefused(Check(task), "top_logprobs is 62");
  task = GenerateOf(Tokens(3), 1);
  task.sampling.top_p = 0;
  ExpectRefused(Check(task), "top_p");
  task = GenerateOf(Tokens(3), 1);
  task.policy = {.mode = RoutingPolicy::Mode::kForced, .forced = 9};
  ExpectRefused(Check(task), "forced expert 9");
}

TEST_F(RuntimeTaskValidation, WhatCouldNeverFitIsRefused) {
  geometry_.num_blocks = 3;  // 12 tokens
  EXPECT_TRUE(Check(GenerateOf(Tokens(10), 3)).ok());
  ExpectRefused(Check(GenerateOf(Tokens(10), 4)), "needs 4 KV blocks");
  EXPECT_TRUE(Check(RouteOf(Tokens(12))).ok());
  ExpectRefused(Check(RouteOf(Tokens(13))), "needs 4 KV blocks");
  EXPECT_TRUE(Check(ScoreOf(Tokens(8), {Tokens(4, 1), Tokens(4, 2)})).ok());  // branches take turns in the third block
  ExpectRefused(Check(ScoreOf(Tokens(9), {Tokens(4, 1), Tokens(4, 2)})), "needs 4 KV blocks");
}

TEST_F(RuntimeTaskValidation, Score) {
  ExpectRefused(Check(ScoreTask{}), "no groups");
  ScoreTask task;
  task.groups.emplace_back();
  ExpectRefused(Check(task), "group 0 has no items");
  ExpectRefused(Check(ScoreOf(Tokens(3), std::vector<std::vector<TokenId>>(4097, Tokens(2)))),
                "4097 items to score, expected at most 4096");
  const auto refused = [&](ScoreItem item, const std::string& why) {
    ScoreTask one;
    one.groups.push_back({std::move(item)});
    ExpectRefused(Check(one), why);
  };
  refused({.tokens = {3}, .score_from = 1}, "1 tokens, expected a context and a continuation");
  refused({.tokens = {3, 4}, .score_from = 0}, "scoring starts at token 0, expected 1 to 1");
  refused({.tokens = {3, 4}, .score_from = 2}, "scoring starts at token 2");
  refused({.tokens = {3, 400}, .score_from = 1}, "item 0 of group 0: token 1 has the id 400");
  refused({.tokens = Tokens(201), .score_from = 5}, "201 tokens, the model takes at most 200");
}

TEST_F(RuntimeTaskValidation, Route) {
  ExpectRefused(Check(RouteOf({})), "no tokens");
  ExpectRefused(Check(RouteOf(Tokens(201))), "201 tokens");
  ExpectRefused(Check(RouteOf({61})), "id 61");
}

TEST_F(RuntimeTaskValidation, ReplaysMustCoverWhatMayBeComputed) {
  RoutingPolicy replay{.mode = RoutingPolicy::Mode::kReplay, .replay_k = 1};
  replay.replay_experts.assign(5 * 3, 0);
  replay.replay_weights.assign(5 * 3, 1.0f);
  GenerateTask generate = GenerateOf(Tokens(3), 3);  // computes 5 rows
  generate.policy = replay;
  EXPECT_TRUE(Check(generate).ok());
  generate.max_new_tokens = 4;
  ExpectRefused(Check(generate), "cover 5 tokens");
  ScoreTask score = ScoreOf(Tokens(3), {Tokens(3)});
  score.policy = replay;
  EXPECT_TRUE(Check(score).ok());
  RouteTask route = RouteOf(Tokens(6));
  route.policy = replay;
  ExpectRefused(Check(route), "cover 5 tokens");
}

}  // namespace
}  // namespace switchyard
