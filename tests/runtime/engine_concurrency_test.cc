// Many submitters, cancels, deadlines, swaps and a drain at once. Run it under the thread sanitizer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "tests/runtime/engine_fixture.h"

namespace switchyard {
namespace {

using ::testing::IsEmpty;

constexpr int kSubmitters = 8;
constexpr int kTasksEach = 40;

struct Accepted {
  GenerateTask generate;
  ScoreTask score;
  std::shared_ptr<RecordingSink> sink;           // of a generation
  std::shared_ptr<Outcome<ScoreResult>> scored;  // of a scoring
};

class EngineConcurrency : public ::testing::TestWithParam<uint32_t> {
 protected:
  // Submits tasks of every kind; cancels some at once, gives some a deadline that may pass.
  void SubmitMany(uint32_t seed, std::vector<Accepted>* accepted) {
    std::mt19937 random(seed);
    for (int i = 0; i < kTasksEach; ++i) {
      Accepted task;
      const bool hurried = random() % 5 == 0;
      const auto deadline = hurried ? std::chrono::steady_clock::now() + std::chrono::microseconds(random() % 2000) : SteadyTime::max();
      StatusOr<TaskId> id = TaskId{0};
      if (random() % 2 == 0) {
        task.generate = GenerateOf(Tokens(1 + random() % 30, random() % 4), 1 + random() % 15);
        task.generate.deadline = deadline;
        task.sink = std::make_shared<RecordingSink>();
        id = engine_->Generate(task.generate, task.sink);
      } else {
        task.score = ScoreOf(Tokens(1 + random() % 30, random() % 4), {Tokens(1 + random() % 5, 1), Tokens(1 + random() % 5, 2)});
        task.score.deadline = deadline;
        task.scored = std::make_shared<Outcome<ScoreResult>>();
        id = engine_->Score(task.score, [outcome = task.scored](StatusOr<ScoreResult> result) { outcome->Set(std::move(result)); });
      }
      if (!id.ok()) {
        const auto code = id.status().code();
        EXPECT_TRUE(code == absl::StatusCode::kResourceExhausted || code == absl::StatusCode::kUnavailable ||
                    code == absl::StatusCode::kDeadlineExceeded)
            << id.status();
        continue;
      }
      if (random() % 7 == 0) engine_->Cancel(*id);
      accepted->push_back(std::move(task));
    }
  }
  static void ExpectEnd(const Status& status) {
    EXPECT_TRUE(status.code() == absl::StatusCode::kCancelled || status.code() == absl::StatusCode::kDeadlineExceeded) << status;
  }
  static void ExpectRightOrEnded(const Accepted& task) {
    if (task.sink) {
      ASSERT_EQ(task.sink->outcome().calls(), 1);
      const auto& result = task.sink->Wait();
      if (!result.ok()) return ExpectEnd(result.status());
      EXPECT_EQ(task.sink->ids(), OracleGenerate(task.generate, result->snapshot->info()));
    } else {
      ASSERT_EQ(task.scored->calls(), 1);
      const auto& result = task.scored->Wait();
      if (!result.ok()) return ExpectEnd(result.status());
      EXPECT_TRUE(SameScores(result->groups, OracleScore(task.score, result->snapshot->info())));
    }
  }

  FakeModelRunner runner_;
  std::unique_ptr<Engine> engine_;
};

TEST_P(EngineConcurrency, EveryAcceptedTaskEndsOnceAndRight) {
  SCOPED_TRACE(testing::Message() << "seed " << GetParam());
  engine_ = *Engine::Create({.max_queued_tasks = 40, .max_running_tasks = 10, .max_step_tokens = 32}, &runner_);
  std::vector<std::vector<Accepted>> accepted(kSubmitters);
  std::vector<std::thread> threads;
  for (int s = 0; s < kSubmitters; ++s) threads.emplace_back([&, s] { SubmitMany(GetParam() * 100 + s, &accepted[s]); });
  std::atomic<bool> done{false};
  threads.emplace_back([&] {
    for (int generation = 2; !done; ++generation) {
      runner_.Swap(absl::StrFormat("generation-%d", generation % 5));
      engine_->Publish({.stable = runner_.snapshot(), .revision = static_cast<uint64_t>(generation)});
      const EngineStats stats = engine_->stats();
      EXPECT_LE(stats.kv_blocks_used + stats.kv_blocks_cached, stats.kv_blocks_total);
      EXPECT_LE(stats.queued_tasks, 40);
      const RouteSums counts = engine_->route_sums();
      for (const uint64_t rows : counts.rows) EXPECT_EQ(rows, counts.rows[0]);  // a torn copy would differ
      std::this_thread::yield();
    }
  });
  for (int s = 0; s < kSubmitters; ++s) threads[s].join();
  EXPECT_TRUE(engine_->Drain(SteadyTime::max()).ok());
  done = true;
  threads.back().join();

  size_t count = 0;
  for (const auto& tasks : accepted) {
    for (const Accepted& task : tasks) ExpectRightOrEnded(task);
    count += tasks.size();
  }
  EXPECT_GT(count, 0u);
  const EngineStats stats = engine_->stats();
  EXPECT_EQ(stats.kv_blocks_used, 0);
  EXPECT_EQ(stats.queued_tasks, 0);
  EXPECT_EQ(stats.running_tasks, 0);
  EXPECT_THAT(runner_.violations(), IsEmpty());
}

TEST_P(EngineConcurrency, StoppingInTheMiddleEndsEveryAcceptedTaskOnce) {
  SCOPED_TRACE(testing::Message() << "seed " << GetParam());
  engine_ = *Engine::Create({.max_queued_tasks = 40, .max_running_tasks = 10, .max_step_tokens = 32}, &runner_);
  std::vector<std::vector<Accepted>> accepted(kSubmitters);
  std::vector<std::thread> threads;
  for (int s = 0; s < kSubmitters; ++s) threads.emplace_back([&, s] { SubmitMany(GetParam() * 100 + s, &accepted[s]); });
  threads.emplace_back([&] { engine_->Stop(); });
  threads.emplace_back([&] { engine_->Stop(); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(engine_->Drain(SteadyTime::max()).ok());
  for (const auto& tasks : accepted) {
    for (const Accepted& task : tasks) ExpectRightOrEnded(task);
  }
  EXPECT_EQ(engine_->stats().kv_blocks_used, 0);
  EXPECT_THAT(runner_.violations(), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(EngineSeeds, EngineConcurrency, ::testing::Range(1u, 9u));

}  // namespace
}  // namespace switchyard
