// Random workloads: whatever runs together, every task gets what it would get alone, and nothing stays behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/runtime/engine_fixture.h"

namespace switchyard {
namespace {

using ::testing::IsEmpty;

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  int32_t Between(int32_t low, int32_t high) { return std::uniform_int_distribution<int32_t>(low, high)(engine_); }
  bool OneIn(int32_t n) { return Between(1, n) == 1; }

 private:
  std::mt19937 engine_;
};

// Few different beginnings, so that tasks share prefixes, and few tokens, so that branches do.
std::vector<TokenId> RandomTokens(Random* random, int32_t count) {
  std::vector<TokenId> tokens = Tokens(std::min(count, random->Between(0, 24)), random->Between(0, 2));
  while (static_cast<int32_t>(tokens.size()) < count) tokens.push_back(random->Between(2, 5));
  return tokens;
}

RoutingPolicy RandomPolicy(Random* random) {
  RoutingPolicy policy;
  switch (random->Between(0, 7)) {
    case 0:
      policy.mode = RoutingPolicy::Mode::kBaseOnly;
      break;
    case 1:
      policy.mode = RoutingPolicy::Mode::kForced;
      policy.forced = static_cast<ExpertIndex>(random->Between(0, 3));
      break;
    case 2:
      policy.masked = {true, false, random->OneIn(2), false};
      break;
    case 3:
      policy.mode = RoutingPolicy::Mode::kReplay;
      policy.replay_k = 1;
      for (int i = 0; i < 200 * 3; ++i) {
        policy.replay_experts.push_back(static_cast<ExpertIndex>(random->Between(-1, 3)));
        policy.replay_weights.push_back(0.5f);
      }
      break;
    default:
      break;
  }
  return policy;
}

GenerateTask RandomGenerate(Random* random) {
  GenerateTask task = GenerateOf(RandomTokens(random, random->Between(1, 40)), random->Between(1, 20));
  task.policy = RandomPolicy(random);
  task.ignore_eos = random->OneIn(2);
  task.record_routes = random->OneIn(4);
  if (random->OneIn(2)) {
    task.sampling = {.temperature = 0.9f,
                     .top_k = 20,
                     .top_p = 0.95f,
                     .repetition_penalty = 1.1f,
                     .seed = static_cast<uint64_t>(random->Between(0, 99))};
  }
  return task;
}

ScoreTask RandomScore(Random* random) {
  ScoreTask task;
  for (int32_t g = random->Between(1, 2); g > 0; --g) {
    std::vector<std::vector<TokenId>> continuations;
    for (int32_t i = random->Between(1, 8); i > 0; --i) continuations.push_back(RandomTokens(random, random->Between(1, 9)));
    task.groups.push_back(ItemsOf(RandomTokens(random, random->Between(1, 30)), continuations));
  }
  task.policy = RandomPolicy(random);
  task.share_context = !random->OneIn(4);
  task.use_prefix_cache = !random->OneIn(4);
  task.record_routes = random->OneIn(4);
  return task;
}

// Each row of the trace must be the oracle's for some prefix; for a generation the prefixes are those of its text.
void ExpectGenerationTrace(const GenerateTask& task, const std::vector<TokenId>& generated, const RouteTrace& trace,
                           const SnapshotInfo& info) {
  const std::vector<TokenId> all = task.prompt + generated;
  ASSERT_EQ(trace.rows, static_cast<int32_t>(all.size()) - 1);
  for (int32_t row = 0; row < trace.rows; ++row) {
    const RouteTrace one = fake::Routes(fake::PrefixHash(info, task.policy, std::span(all).first(row + 1)), info, task.policy, row);
    const auto begin = trace.experts.begin() + static_cast<std::ptrdiff_t>(one.experts.size()) * row;
    ASSERT_TRUE(std::equal(one.experts.begin(), one.experts.end(), begin)) << row;
  }
}

class EngineProperty : public ::testing::TestWithParam<uint32_t> {};

TEST_P(EngineProperty, ABusyEngineAnswersAsAnIdleOneAndKeepsNothing) {
  SCOPED_TRACE(testing::Message() << "seed " << GetParam());
  Random random(GetParam());
  FakeModelRunner runner({.num_blocks = random.Between(20, 60), .block_tokens = random.Between(1, 5) * 2});
  const auto snapshot = runner.snapshot();
  auto engine = *Engine::Create(
      {.max_running_tasks = random.Between(1, 12), .max_step_tokens = random.Between(1, 48), .prefix_cache = !random.OneIn(4)}, &runner);
  struct Generation {
    GenerateTask task;
    std::shared_ptr<RecordingSink> sink;
    bool cancelled = false;
  };
  struct Scoring {
    ScoreTask task;
    std::shared_ptr<Outcome<ScoreResult>> outcome;
    bool cancelled = false;
  };
  std::vector<Generation> generations;
  std::vector<Scoring> scorings;
  if (random.OneIn(2)) runner.Hold();  // all arrive at once, or as they come
  for (int i = 0; i < 30; ++i) {
    StatusOr<TaskId> id = TaskId{0};
    bool* cancelled = nullptr;
    if (random.OneIn(2)) {
      generations.push_back({.task = RandomGenerate(&random), .sink = std::make_shared<RecordingSink>()});
      id = engine->Generate(generations.back().task, generations.back().sink);
      if (id.ok()) {
        cancelled = &generations.back().cancelled;
      } else {
        generations.pop_back();
      }
    } else {
      scorings.push_back({.task = RandomScore(&random), .outcome = std::make_shared<Outcome<ScoreResult>>()});
      id = engine->Score(scorings.back().task,
                         [outcome = scorings.back().outcome](StatusOr<ScoreResult> result) { outcome->Set(std::move(result)); });
      if (id.ok()) {
        cancelled = &scorings.back().cancelled;
      } else {
        scorings.pop_back();
      }
    }
    if (!id.ok()) {
      EXPECT_EQ(id.status().code(), absl::StatusCode::kInvalidArgument) << id.status();  // needs more than this small pool
    } else if (random.OneIn(6)) {
      *cancelled = true;
      engine->Cancel(*id);
    }
  }
  runner.Resume();
  ASSERT_GT(generations.size() + scorings.size(), 10u);

  for (Generation& generation : generations) {
    const auto& result = generation.sink->Wait();
    if (generation.cancelled && !result.ok()) {
      EXPECT_EQ(result.status().code(), absl::StatusCode::kCancelled);
      continue;
    }
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(generation.sink->ids(), OracleGenerate(generation.task, snapshot->info()));
    if (generation.task.record_routes) {
      ExpectGenerationTrace(generation.task, generation.sink->ids(), result->routes.trace, snapshot->info());
    }
  }
  for (Scoring& scoring : scorings) {
    const auto& result = scoring.outcome->Wait();
    if (scoring.cancelled && !result.ok()) {
      EXPECT_EQ(result.status().code(), absl::StatusCode::kCancelled);
      continue;
    }
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_TRUE(SameScores(result->groups, OracleScore(scoring.task, snapshot->info())));
  }
  const EngineStats stats = engine->stats();
  EXPECT_EQ(stats.kv_blocks_used, 0);
  EXPECT_EQ(stats.running_tasks, 0);
  EXPECT_EQ(stats.queued_tasks, 0);
  EXPECT_LE(stats.kv_blocks_cached, stats.kv_blocks_total);
  EXPECT_THAT(runner.violations(), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(EngineSeeds, EngineProperty, ::testing::Range(1u, 61u));

}  // namespace
}  // namespace switchyard
