#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/runtime/engine_fixture.h"

namespace switchyard {
namespace {

using ::testing::IsEmpty;

class EngineGenerateTest : public ::testing::Test {
 protected:
  void Start(EngineOptions options = {}) { engine_ = *Engine::Create(options, &runner_); }
  std::shared_ptr<RecordingSink> Submit(GenerateTask task, size_t stop_after = SIZE_MAX) {
    auto sink = std::make_shared<RecordingSink>(stop_after);
    const auto id = engine_->Generate(std::move(task), sink);
    EXPECT_TRUE(id.ok()) << id.status();
    return sink;
  }
  const SnapshotInfo& info() { return snapshot_->info(); }
  void TearDown() override {
    engine_.reset();
    EXPECT_THAT(runner_.violations(), IsEmpty());
  }

  FakeModelRunner runner_;
  std::shared_ptr<const Snapshot> snapshot_ = runner_.snapshot();
  std::unique_ptr<Engine> engine_;
};

TEST_F(EngineGenerateTest, GivesTheTokensOfTheOracle) {
  Start();
  for (const int32_t length : {1, 3, 4, 5, 17, 40}) {
    const GenerateTask task = GenerateOf(Tokens(length), 20);
    auto sink = Submit(task);
    ASSERT_TRUE(sink->Wait().ok()) << sink->Wait().status();
    EXPECT_EQ(sink->ids(), OracleGenerate(task, info())) << length;
  }
}

TEST_F(EngineGenerateTest, ChunkedPrefillChangesNothing) {
  const GenerateTask task = GenerateOf(Tokens(50), 12);
  for (const int32_t step_tokens : {1, 3, 7, 64}) {
    Start({.max_step_tokens = step_tokens, .prefix_cache = false});
    const size_t first_step = runner_.steps().size();
    auto sink = Submit(task);
    ASSERT_TRUE(sink->Wait().ok());
    EXPECT_EQ(sink->ids(), OracleGenerate(task, info()));
    for (size_t i = first_step; i < runner_.steps().size(); ++i) EXPECT_LE(runner_.steps()[i].rows, step_tokens);
  }
}

TEST_F(EngineGenerateTest, StopsAtEosUnlessToldNotTo) {
  Start();
  // Find a prompt whose greedy answer ends by itself.
  int32_t salt = 0;
  GenerateTask task;
  do {
    task = GenerateOf(Tokens(6, ++salt), 60);
  } while (OracleGenerate(task, info()).back() != 1);
  auto sink = Submit(task);
  ASSERT_TRUE(sink->Wait().ok());
  EXPECT_EQ(sink->Wait()->reason, FinishReason::kStopToken);
  EXPECT_TRUE(sink->tokens().back().is_stop);
  const size_t stopped_at = sink->ids().size();

  task.ignore_eos = true;
  auto longer = Submit(task);
  ASSERT_TRUE(longer->Wait().ok());
  EXPECT_EQ(longer->Wait()->reason, FinishReason::kLength);
  EXPECT_EQ(longer->ids().size(), 60u);
  EXPECT_FALSE(longer->tokens()[stopped_at - 1].is_stop);
}

TEST_F(EngineGenerateTest, StopTokensOfTheRequestEndIt) {
  Start();
  GenerateTask task = GenerateOf(Tokens(9), 30);
  task.ignore_eos = true;
  task.stop_tokens = {OracleGenerate(task, info())[4]};
  auto sink = Submit(task);
  ASSERT_TRUE(sink->Wait().ok());
  EXPECT_EQ(sink->Wait()->reason, FinishReason::kStopToken);
  EXPECT_EQ(sink->ids(), OracleGenerate(task, info()));
}

TEST_F(EngineGenerateTest, TheSinkMayEndItAndKvIsFreeAtOnce) {
  Start({.prefix_cache = false});
  GenerateTask task = GenerateOf(Tokens(9), 50);
  task.ignore_eos = true;
  auto sink = Submit(task, 3);
  ASSERT_TRUE(sink->Wait().ok());
  EXPECT_EQ(sink->Wait()->reason, FinishReason::kStopString);
  EXPECT_EQ(sink->ids().size(), 3u);
  EXPECT_EQ(sink->Wait()->usage.generated_tokens, 3);
  EXPECT_EQ(engine_->stats().kv_blocks_used, 0);
}

TEST_F(EngineGenerateTest, ReportsRawLogProbsWhateverTheSampling) {
  Start();
  GenerateTask task = GenerateOf(Tokens(9), 8);
  task.ignore_eos = true;
  task.top_logprobs = 3;
  task.sampling = {.temperature = 1.7f, .top_k = 5, .repetition_penalty = 1.5f, .seed = 99};
  auto sink = Submit(task);
  ASSERT_TRUE(sink->Wait().ok());
  std::vector<TokenId> seen = task.prompt;
  for (const GeneratedToken& token : sink->tokens()) {
    const uint64_t hash = fake::PrefixHash(info(), task.policy, seen);
    EXPECT_NEAR(token.logprob, fake::LogProb(hash, info().vocab_size, token.token).logprob, 1e-5);
    ASSERT_EQ(token.top.size(), 3u);
    for (const TokenLogProb& other : token.top) {
      if (other.token != token.token) continue;
      EXPECT_EQ(token.logprob, other.logprob);
    }
    EXPECT_EQ(token.top[0].token, fake::TopLogProbs(hash, info().vocab_size, 1)[0].token);
    seen.push_back(token.token);
  }
}

TEST_F(EngineGenerateTest, TheSeedDecidesTheTextWhateverElseRuns) {
  GenerateTask task = GenerateOf(Tokens(11), 25);
  task.ignore_eos = true;
  task.sampling = {.temperature = 1.0f, .top_p = 0.9f, .seed = 5};
  Start();
  auto alone = Submit(task);
  ASSERT_TRUE(alone->Wait().ok());
  EXPECT_EQ(alone->ids(), OracleGenerate(task, info()));

  runner_.Hold();
  std::vector<std::shared_ptr<RecordingSink>> others;
  for (int i = 0; i < 6; ++i) others.push_back(Submit(GenerateOf(Tokens(5 + i, i + 1), 30)));
  auto crowded = Submit(task);
  runner_.Resume();
  ASSERT_TRUE(crowded->Wait().ok());
  EXPECT_EQ(crowded->ids(), alone->ids());
  for (const auto& other : others) EXPECT_TRUE(other->Wait().ok());

  task.sampling.seed = 6;
  auto other_seed = Submit(task);
  ASSERT_TRUE(other_seed->Wait().ok());
  EXPECT_NE(other_seed->ids(), alone->ids());
}

TEST_F(EngineGenerateTest, DecodesManyGenerationsInOneStep) {
  Start();
  runner_.Hold();
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (int i = 0; i < 8; ++i) {
    GenerateTask task = GenerateOf(Tokens(4, i), 10);
    task.ignore_eos = true;
    sinks.push_back(Submit(std::move(task)));
  }
  runner_.Resume();
  for (const auto& sink : sinks) ASSERT_TRUE(sink->Wait().ok());
  int32_t most = 0;
  for (const auto& step : runner_.steps()) most = std::max(most, step.single_row_segments);
  EXPECT_EQ(most, 8);
}

TEST_F(EngineGenerateTest, UsageAndTimingsAreFilled) {
  Start();
  GenerateTask task = GenerateOf(Tokens(12), 5);
  task.ignore_eos = true;
  auto first = Submit(task);
  ASSERT_TRUE(first->Wait().ok());
  EXPECT_EQ(first->Wait()->usage.prompt_tokens, 12);
  EXPECT_EQ(first->Wait()->usage.cached_tokens, 0);
  EXPECT_EQ(first->Wait()->usage.generated_tokens, 5);
  EXPECT_EQ(first->Wait()->usage.computed_tokens, 12 + 4);
  EXPECT_GE(first->Wait()->usage.timings.total_ms, first->Wait()->usage.timings.prefill_ms);
  EXPECT_GT(first->Wait()->usage.timings.prefill_ms, 0);

  auto second = Submit(task);
  ASSERT_TRUE(second->Wait().ok());
  EXPECT_EQ(second->Wait()->usage.cached_tokens, 8);  // three full blocks, but the last prompt row is always computed
  EXPECT_EQ(second->Wait()->usage.computed_tokens, 4 + 4);
  EXPECT_EQ(second->ids(), first->ids());
  EXPECT_EQ(engine_->stats().prefix_hit_tokens, 8u);
  EXPECT_EQ(engine_->stats().generated_tokens, 10u);
  EXPECT_EQ(engine_->stats().prompt_tokens, 24u);
}

TEST_F(EngineGenerateTest, ALaterTurnReusesTheAnswer) {
  Start();
  GenerateTask task = GenerateOf(Tokens(8), 9);
  task.ignore_eos = true;
  auto first = Submit(task);
  ASSERT_TRUE(first->Wait().ok());
  auto second = Submit(GenerateOf(task.prompt + first->ids() + Tokens(3, 4), 4));
  ASSERT_TRUE(second->Wait().ok());
  EXPECT_EQ(second->Wait()->usage.cached_tokens, 16);  // 8 + 9 tokens, the last of them never computed: 16 in full blocks
}

TEST_F(EngineGenerateTest, RecordedRoutesCoverEveryComputedRow) {
  Start();
  GenerateTask task = GenerateOf(Tokens(10), 6);
  task.ignore_eos = true;
  ASSERT_TRUE(Submit(task)->Wait().ok());  // leaves its prompt in the tree
  task.record_routes = true;
  auto sink = Submit(task);
  ASSERT_TRUE(sink->Wait().ok());
  const GenerateResult& result = *sink->Wait();
  EXPECT_EQ(result.usage.cached_tokens, 0);
  ASSERT_EQ(result.routes.trace.rows, 15);
  const std::vector<TokenId> all = task.prompt + sink->ids();
  const RouteTrace last = fake::Routes(fake::PrefixHash(info(), task.policy, std::span(all).first(15)), info(), task.policy, 14);
  const std::vector<ExpertIndex> tail(result.routes.trace.experts.end() - last.experts.size(), result.routes.trace.experts.end());
  EXPECT_EQ(tail, last.experts);
  EXPECT_EQ(result.routes.counts.rows, std::vector<uint64_t>(3, 15));
}

}  // namespace
}  // namespace switchyard
