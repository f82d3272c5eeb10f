#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/runtime/engine_fixture.h"

namespace switchyard {
namespace {

using ::testing::IsEmpty;

class EngineScoreTest : public ::testing::Test {
 protected:
  void Start(EngineOptions options = {}) { engine_ = *Engine::Create(options, &runner_); }
  StatusOr<ScoreResult> Score(ScoreTask task) {
    Outcome<ScoreResult> outcome;
    const auto id = engine_->Score(std::move(task), [&](StatusOr<ScoreResult> result) { outcome.Set(std::move(result)); });
    if (!id.ok()) return id.status();
    return outcome.Wait();
  }
  void ExpectOracle(const ScoreTask& task) {
    const auto result = Score(task);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_TRUE(SameScores(result->groups, OracleScore(task, snapshot_->info())));
    EXPECT_EQ(engine_->stats().kv_blocks_used, 0);
  }
  void TearDown() override {
    engine_.reset();
    EXPECT_THAT(runner_.violations(), IsEmpty());
  }

  FakeModelRunner runner_;
  std::shared_ptr<const Snapshot> snapshot_ = runner_.snapshot();
  std::unique_ptr<Engine> engine_;
};

TEST_F(EngineScoreTest, GivesTheOraclesLogProbs) {
  Start();
  ExpectOracle(ScoreOf(Tokens(20), {Tokens(3, 1), Tokens(5, 2), Tokens(1, 3), Tokens(4, 4)}));
  ExpectOracle(ScoreOf(Tokens(1), {Tokens(1, 1), Tokens(9, 2)}));
  ExpectOracle(ScoreOf(Tokens(7), {Tokens(6, 5)}));
  ExpectOracle(ScoreOf(Tokens(7), {Tokens(6, 5), Tokens(6, 5)}));
}

TEST_F(EngineScoreTest, TheContextIsComputedOnceAndBranchesShareItsStep) {
  Start({.prefix_cache = false});
  const auto result = Score(ScoreOf(Tokens(20), {{3, 4, 5}, {6, 7, 8}, {9, 10, 11}, {12, 13, 14}}));
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->usage.computed_tokens, 20 + 4 * 2);
  EXPECT_EQ(result->usage.prompt_tokens, 20 + 4 * 3);
  ASSERT_EQ(runner_.steps().size(), 1u);
  EXPECT_EQ(runner_.steps()[0].segments, 5);
  EXPECT_EQ(runner_.steps()[0].log_prob_queries, 12);
}

TEST_F(EngineScoreTest, OneTokenContinuationsAddNoRows) {
  Start({.prefix_cache = false});
  const ScoreTask task = ScoreOf(Tokens(20), {{3}, {4}, {5}, {6}});
  ExpectOracle(task);
  ASSERT_EQ(runner_.steps().size(), 1u);
  EXPECT_EQ(runner_.steps()[0].rows, 20);
  EXPECT_EQ(runner_.steps()[0].segments, 1);
  EXPECT_EQ(runner_.steps()[0].log_prob_queries, 4);
}

TEST_F(EngineScoreTest, AnswersDoNotDependOnHowStepsAreCut) {
  const ScoreTask task = ScoreOf(Tokens(23), {Tokens(3, 1), Tokens(9, 2), Tokens(1, 3), Tokens(14, 4)});
  for (const int32_t step_tokens : {1, 2, 5, 16, 512}) {
    Start({.max_step_tokens = step_tokens});
    const size_t first_step = runner_.steps().size();
    ExpectOracle(task);
    for (size_t i = first_step; i < runner_.steps().size(); ++i) EXPECT_LE(runner_.steps()[i].rows, step_tokens);
  }
}

TEST_F(EngineScoreTest, RecomputingTheContextGivesTheSame) {
  Start();
  ScoreTask task = ScoreOf(Tokens(20), {{3, 4, 5}, {6, 7, 8}});
  task.share_context = false;
  const auto result = Score(task);
  ASSERT_TRUE(result.ok());
  EXPECT_TRUE(SameScores(result->groups, OracleScore(task, snapshot_->info())));
  EXPECT_EQ(result->usage.computed_tokens, 2 * 22);
  EXPECT_EQ(result->usage.cached_tokens, 0);
}

TEST_F(EngineScoreTest, SeveralGroupsAndDifferentContexts) {
  Start();
  ScoreTask task = ScoreOf(Tokens(15), {Tokens(4, 1), Tokens(4, 2)});
  task.groups.push_back(ItemsOf({0}, {Tokens(4, 1), Tokens(4, 2)}));
  task.groups.push_back({{.tokens = Tokens(9, 1), .score_from = 3}, {.tokens = Tokens(12, 2), .score_from = 1}});
  ExpectOracle(task);
}

TEST_F(EngineScoreTest, AQuestionWithTheSameFewShotPrefixHitsTheTree) {
  Start();
  const std::vector<TokenId> shots = Tokens(32);
  ExpectOracle(ScoreOf(shots + Tokens(6, 1), {Tokens(3, 2), Tokens(3, 3)}));
  const ScoreTask second = ScoreOf(shots + Tokens(7, 2), {Tokens(3, 2), Tokens(3, 3)});
  const auto result = Score(second);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->usage.cached_tokens, 32);
  EXPECT_TRUE(SameScores(result->groups, OracleScore(second, snapshot_->info())));

  ScoreTask uncached = second;
  uncached.use_prefix_cache = false;
  EXPECT_EQ(Score(uncached)->usage.cached_tokens, 0);
}

TEST_F(EngineScoreTest, TheSameQuestionAgainComputesOnlyWhatIsAsked) {
  Start();
  const ScoreTask task = ScoreOf(Tokens(21), {{3}, {4}});
  ExpectOracle(task);
  const auto again = Score(task);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->usage.cached_tokens, 20);
  EXPECT_EQ(again->usage.computed_tokens, 1);
  EXPECT_TRUE(SameScores(again->groups, OracleScore(task, snapshot_->info())));
}

TEST_F(EngineScoreTest, BigGroupsTakeTurns) {
  Start({.max_step_tokens = 32});
  std::vector<std::vector<TokenId>> continuations;
  for (int i = 0; i < 256; ++i) continuations.push_back(Tokens(5 + i % 3, i));
  ExpectOracle(ScoreOf(Tokens(30), continuations));
  int64_t rows = 0;
  for (const auto& step : runner_.steps()) {
    EXPECT_LE(step.rows, 32);
    rows += step.rows;
  }
  EXPECT_GE(rows, 30 + 256 * 3);
}

TEST_F(EngineScoreTest, RoutesAreTheContextOnceThenEachItem) {
  Start();
  ScoreTask task = ScoreOf(Tokens(10), {{3, 4, 5}, {6}, {7, 8}});
  task.record_routes = true;
  const auto result = Score(task);
  ASSERT_TRUE(result.ok());
  const RouteTrace& trace = result->routes.trace;
  ASSERT_EQ(trace.rows, 10 + 2 + 0 + 1);
  const SnapshotInfo& info = snapshot_->info();
  const auto expect_row = [&](int32_t row, const std::vector<TokenId>& tokens) {
    const RouteTrace one = fake::Routes(fake::PrefixHash(info, task.policy, tokens), info, task.policy, 0);
    const auto begin = trace.experts.begin() + row * trace.layers * trace.k;
    EXPECT_EQ(std::vector<ExpertIndex>(begin, begin + trace.layers * trace.k), one.experts) << row;
  };
  expect_row(9, Tokens(10));
  expect_row(10, Tokens(10) + std::vector<TokenId>{3});
  expect_row(11, Tokens(10) + std::vector<TokenId>{3, 4});
  expect_row(12, Tokens(10) + std::vector<TokenId>{7});
  EXPECT_EQ(result->routes.counts.rows, std::vector<uint64_t>(3, 13));
}

TEST_F(EngineScoreTest, RouteGivesEveryToken) {
  Start({.max_step_tokens = 7});
  RouteTask task;
  task.tokens = Tokens(19);
  Outcome<RouteResult> outcome;
  ASSERT_TRUE(engine_->Route(task, [&](StatusOr<RouteResult> result) { outcome.Set(std::move(result)); }).ok());
  ASSERT_TRUE(outcome.Wait().ok());
  EXPECT_EQ(outcome.Wait()->routes.trace.rows, 19);
  EXPECT_EQ(outcome.Wait()->usage.computed_tokens, 19);
  // The only task so far: its own counts are the engine's.
  const RouteSums total = engine_->route_sums();
  const RouteCounts& own = outcome.Wait()->routes.counts;
  EXPECT_EQ(own.entropy_rows, total.entropy_rows);
  EXPECT_EQ(total.pairs, std::vector<uint64_t>(3, 18));  // over the borders of three chunks
  EXPECT_EQ(own.pairs, total.pairs);
  EXPECT_EQ(own.flips, total.flips);
  const std::vector<RouterSums> routers = engine_->router_sums();
  ASSERT_EQ(routers.size(), 1u);
  EXPECT_EQ(routers[0].generation, snapshot_->info().generation);
  EXPECT_EQ(routers[0].tokens, own.learned_tokens);
  EXPECT_EQ(routers[0].flips, own.flips);
  ASSERT_EQ(own.tokens.size(), total.rows.size() * total.experts.size());
  for (size_t i = 0; i < own.tokens.size(); ++i) {
    const RouteSums::Expert& expert = total.experts[i % total.experts.size()];
    EXPECT_EQ(own.tokens[i], expert.tokens[i / total.experts.size()]);
    EXPECT_NEAR(own.weight[i], expert.weight[i / total.experts.size()], 1e-6);
  }
  for (size_t i = 0; i < total.base_mass.size(); ++i) EXPECT_NEAR(outcome.Wait()->routes.counts.base_mass[i], total.base_mass[i], 1e-6);
}

}  // namespace
}  // namespace switchyard
