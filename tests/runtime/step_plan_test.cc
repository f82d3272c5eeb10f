#include "engine/runtime/step_plan.h"

#include <gtest/gtest.h>

#include "tests/runtime/engine_fixture.h"

namespace switchyard {
namespace {

TEST(RuntimeStepPlan, RowsAndBranchesLieEndToEnd) {
  FakeModelRunner runner;
  StepPlan plan(runner.snapshot());
  const RoutingPolicy policy;
  const std::vector<int32_t> context = {0, 1, 2};
  const std::vector<int32_t> own = {8};
  const std::vector<TokenId> branch_tokens = {9};
  EXPECT_EQ(plan.AddSegment(Tokens(3), context, policy, false), 0);
  for (int i = 1; i <= 50; ++i) EXPECT_EQ(plan.AddBranch(branch_tokens, context, own, policy, false), i);  // spans must stay valid
  EXPECT_EQ(plan.rows(), 53);
  for (int i = 1; i <= 50; ++i) {
    const Segment& segment = plan.step().segments[i];
    EXPECT_EQ(segment.begin, 2 + i);
    EXPECT_EQ(std::vector<int32_t>(segment.slots.begin(), segment.slots.end()), (std::vector<int32_t>{0, 1, 2, 8}));
  }
}

TEST(RuntimeStepPlan, AnAnswerTooFewIsNoticed) {
  FakeModelRunner runner;
  StepPlan plan(runner.snapshot());
  const RoutingPolicy policy;
  const std::vector<int32_t> slots = {0};
  plan.AddSegment(Tokens(1), slots, policy, /*record_routes=*/true);
  plan.AddLogits(0);
  plan.AddLogProb(0, 3);
  plan.AddTopLogProbs(0, 2);
  const StepResult good = *runner.Run(plan.step());
  EXPECT_TRUE(plan.CheckAnswers(good).ok());
  const auto expect_bad = [&](auto change) {
    StepResult bad = good;
    change(&bad);
    EXPECT_EQ(plan.CheckAnswers(bad).code(), absl::StatusCode::kInternal);
  };
  expect_bad([](StepResult* result) { result->logits.clear(); });
  expect_bad([](StepResult* result) { result->logits[0].pop_back(); });
  expect_bad([](StepResult* result) { result->logprobs.clear(); });
  expect_bad([](StepResult* result) { result->top_logprobs.clear(); });
  expect_bad([](StepResult* result) { result->routes.clear(); });
  expect_bad([](StepResult* result) { result->routes[0].rows = 0; });
  expect_bad([](StepResult* result) { result->routes[0].experts.pop_back(); });
  expect_bad([](StepResult* result) { result->routes[0].entropy.pop_back(); });
}

}  // namespace
}  // namespace switchyard
