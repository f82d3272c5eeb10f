// Beginnings and ends: admission, cancelling, deadlines, failures, draining, stopping.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/runtime/engine_fixture.h"
#include "tests/testing/fake_clock.h"

namespace switchyard {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class EngineLifecycleTest : public ::testing::Test {
 protected:
  struct Submitted {
    TaskId id = 0;
    std::shared_ptr<RecordingSink> sink;
  };

  void Start(EngineOptions options = {}) {
    options.clock = &clock_;
    engine_ = *Engine::Create(options, &runner_);
  }
  // Ignores eos, so that it runs to its length.
  GenerateTask LongTask(int32_t prompt = 6, int32_t new_tokens = 40, int32_t salt = 0) {
    GenerateTask task = GenerateOf(Tokens(prompt, salt), new_tokens);
    task.ignore_eos = true;
    return task;
  }
  SteadyTime InMs(int64_t ms) { return clock_.Now() + std::chrono::milliseconds(ms); }
  Submitted Submit(GenerateTask task) {
    Submitted submitted{.id = 0, .sink = std::make_shared<RecordingSink>()};
    const auto id = engine_->Generate(std::move(task), submitted.sink);
    EXPECT_TRUE(id.ok()) << id.status();
    submitted.id = id.value_or(0);
    return submitted;
  }
  static absl::StatusCode CodeOf(const Submitted& submitted) { return submitted.sink->Wait().status().code(); }
  void ExpectAllFree() {
    const EngineStats stats = engine_->stats();
    EXPECT_EQ(stats.kv_blocks_used, 0);
    EXPECT_EQ(stats.running_tasks, 0);
    EXPECT_EQ(stats.queued_tasks, 0);
  }
  void TearDown() override {
    engine_.reset();
    EXPECT_THAT(runner_.violations(), IsEmpty());
  }

  FakeModelRunner runner_;
  FakeClock clock_;
  std::shared_ptr<const Snapshot> snapshot_ = runner_.snapshot();
  std::unique_ptr<Engine> engine_;
};

TEST_F(EngineLifecycleTest, RefusesOptionsThatCannotWork) {
  EXPECT_EQ(Engine::Create({.max_queued_tasks = 0}, &runner_).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Engine::Create({.max_running_tasks = 0}, &runner_).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Engine::Create({.max_step_tokens = 0}, &runner_).status().code(), absl::StatusCode::kInvalidArgument);
  FakeModelRunner no_kv({.num_blocks = 0});
  EXPECT_EQ(Engine::Create({}, &no_kv).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(EngineLifecycleTest, CancelEndsARunningTaskAtTheNextBorder) {
  Start({.prefix_cache = false});
  runner_.Hold();
  const Submitted cancelled = Submit(LongTask());
  runner_.WaitUntilHeld();
  engine_->Cancel(cancelled.id);
  EXPECT_FALSE(cancelled.sink->outcome().is_set());
  runner_.StepOnce();
  EXPECT_EQ(CodeOf(cancelled), absl::StatusCode::kCancelled);
  EXPECT_EQ(cancelled.sink->ids().size(), 1u);
  ExpectAllFree();
  runner_.Resume();
}

TEST_F(EngineLifecycleTest, CancelEndsAWaitingTaskWhileOthersRun) {
  Start({.max_running_tasks = 1});
  runner_.Hold();
  const Submitted running = Submit(LongTask());
  runner_.WaitUntilHeld();
  const Submitted waiting = Submit(LongTask());
  EXPECT_EQ(engine_->stats().queued_tasks, 1);
  engine_->Cancel(waiting.id);
  runner_.StepOnce();
  EXPECT_EQ(CodeOf(waiting), absl::StatusCode::kCancelled);
  EXPECT_FALSE(running.sink->outcome().is_set());
  runner_.Resume();
  EXPECT_TRUE(running.sink->Wait().ok());
}

TEST_F(EngineLifecycleTest, CancellingUnknownOrFinishedTasksIsIgnored) {
  Start();
  engine_->Cancel(12345);
  const Submitted done = Submit(LongTask(3, 2));
  ASSERT_TRUE(done.sink->Wait().ok());
  engine_->Cancel(done.id);
  EXPECT_TRUE(Submit(LongTask(3, 2)).sink->Wait().ok());
  EXPECT_EQ(done.sink->outcome().calls(), 1);
}

TEST_F(EngineLifecycleTest, ADeadlineEndsARunningTask) {
  Start();
  runner_.Hold();
  GenerateTask task = LongTask();
  task.deadline = InMs(100);
  const Submitted late = Submit(std::move(task));
  runner_.WaitUntilHeld();
  clock_.AdvanceMs(100);
  runner_.StepOnce();
  EXPECT_EQ(CodeOf(late), absl::StatusCode::kDeadlineExceeded);
  ExpectAllFree();
  runner_.Resume();
}

TEST_F(EngineLifecycleTest, ADeadlineEndsAWaitingTaskWhileOthersRun) {
  Start({.max_running_tasks = 1});
  runner_.Hold();
  const Submitted running = Submit(LongTask());
  runner_.WaitUntilHeld();
  GenerateTask task = LongTask();
  task.deadline = InMs(100);
  const Submitted late = Submit(std::move(task));
  clock_.AdvanceMs(100);
  runner_.StepOnce();
  EXPECT_EQ(CodeOf(late), absl::StatusCode::kDeadlineExceeded);
  EXPECT_FALSE(running.sink->outcome().is_set());
  runner_.Resume();
  EXPECT_TRUE(running.sink->Wait().ok());
}

TEST_F(EngineLifecycleTest, APassedDeadlineIsRefusedAtSubmission) {
  Start();
  GenerateTask task = LongTask();
  task.deadline = InMs(0);
  auto sink = std::make_shared<RecordingSink>();
  EXPECT_EQ(engine_->Generate(task, sink).status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(sink->outcome().calls(), 0);
}

TEST_F(EngineLifecycleTest, AFullQueueRefuses) {
  Start({.max_queued_tasks = 2, .max_running_tasks = 1});
  runner_.Hold();
  const Submitted running = Submit(LongTask());
  runner_.WaitUntilHeld();
  const Submitted first = Submit(LongTask());
  const Submitted second = Submit(LongTask());
  auto sink = std::make_shared<RecordingSink>();
  const auto refused = engine_->Generate(LongTask(), sink);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(Message(refused.status())), HasSubstr("2 requests are waiting"));
  EXPECT_EQ(sink->outcome().calls(), 0);
  runner_.Resume();
  for (const Submitted& accepted : {running, first, second}) EXPECT_TRUE(accepted.sink->Wait().ok());
  EXPECT_TRUE(Submit(LongTask()).sink->Wait().ok());
}

TEST_F(EngineLifecycleTest, TasksThatDoNotFitWaitTheirTurn) {
  Start({.prefix_cache = false});  // 64 blocks of 4 tokens
  runner_.Hold();
  std::vector<Submitted> tasks;
  for (int i = 0; i < 6; ++i) tasks.push_back(Submit(LongTask(60, 40, i)));  // 25 blocks each: two fit
  runner_.WaitUntilHeld();
  runner_.StepOnce();
  runner_.WaitUntilHeld();
  EXPECT_EQ(engine_->stats().running_tasks, 2);
  EXPECT_EQ(engine_->stats().queued_tasks, 4);
  runner_.Resume();
  for (int i = 0; i < 6; ++i) {
    ASSERT_TRUE(tasks[i].sink->Wait().ok());
    EXPECT_EQ(tasks[i].sink->ids(), OracleGenerate(LongTask(60, 40, i), snapshot_->info()));
  }
  ExpectAllFree();
}

TEST_F(EngineLifecycleTest, CachedBlocksMakeRoomForNewTasks) {
  Start();
  for (int i = 0; i < 8; ++i) {
    const Submitted task = Submit(LongTask(150, 20, i));  // 43 of 64 blocks
    ASSERT_TRUE(task.sink->Wait().ok());
    EXPECT_EQ(task.sink->ids(), OracleGenerate(LongTask(150, 20, i), snapshot_->info()));
  }
  EXPECT_GT(engine_->stats().kv_blocks_cached, 0);
  ExpectAllFree();
}

TEST_F(EngineLifecycleTest, AFailedStepEndsItsTasksAndLeavesNoPoison) {
  Start();
  runner_.FailStep(1);
  const Submitted failed = Submit(LongTask(30, 5));
  EXPECT_EQ(CodeOf(failed), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(Message(failed.sink->Wait().status())), HasSubstr("told to fail"));
  ExpectAllFree();
  EXPECT_EQ(engine_->stats().kv_blocks_cached, 0);
  const Submitted again = Submit(LongTask(30, 5));
  ASSERT_TRUE(again.sink->Wait().ok());
  EXPECT_EQ(again.sink->Wait()->usage.cached_tokens, 0);
  EXPECT_EQ(again.sink->ids(), OracleGenerate(LongTask(30, 5), snapshot_->info()));
}

// Numbers that run away in one request are its own misfortune.
TEST_F(EngineLifecycleTest, AFailedSegmentEndsItsTaskAlone) {
  Start();
  runner_.Hold();
  const Submitted first = Submit(LongTask(6, 10, 1));
  runner_.WaitUntilHeld();  // in step 1, alone
  const Submitted second = Submit(LongTask(7, 10, 2));
  const Submitted third = Submit(LongTask(8, 10, 3));
  runner_.FailSegment(2, 1);  // step 2 holds all three; the generating one comes first
  runner_.Resume();
  ASSERT_TRUE(first.sink->Wait().ok());
  EXPECT_EQ(first.sink->ids(), OracleGenerate(LongTask(6, 10, 1), snapshot_->info()));
  EXPECT_EQ(CodeOf(second), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(Message(second.sink->Wait().status())), HasSubstr("this segment"));
  ASSERT_TRUE(third.sink->Wait().ok());
  EXPECT_EQ(third.sink->ids(), OracleGenerate(LongTask(8, 10, 3), snapshot_->info()));
  ExpectAllFree();
  const Submitted again = Submit(LongTask(7, 10, 2));
  ASSERT_TRUE(again.sink->Wait().ok());
  EXPECT_EQ(again.sink->Wait()->usage.cached_tokens, 0) << "nothing of it may be found in the prefix cache";
  EXPECT_EQ(again.sink->ids(), OracleGenerate(LongTask(7, 10, 2), snapshot_->info()));
}

TEST_F(EngineLifecycleTest, AFailedStepSparesTasksOfOtherSnapshots) {
  Start();
  runner_.Hold();
  const Submitted old_one = Submit(LongTask(6, 10, 1));
  runner_.WaitUntilHeld();
  runner_.Swap("generation-2");
  engine_->Publish({.stable = runner_.snapshot()});
  const Submitted new_one = Submit(LongTask(6, 10, 2));
  runner_.FailStep(2);  // the snapshots take turns: step 2 is one of theirs, whichever
  runner_.Resume();
  const bool old_ok = old_one.sink->Wait().ok();
  const bool new_ok = new_one.sink->Wait().ok();
  EXPECT_NE(old_ok, new_ok);
}

TEST_F(EngineLifecycleTest, LogitsThatAreNoNumbersAreAnError) {
  Start();
  runner_.PoisonStep(1);
  const Submitted poisoned = Submit(LongTask());
  EXPECT_EQ(CodeOf(poisoned), absl::StatusCode::kInternal);
  EXPECT_THAT(poisoned.sink->ids(), IsEmpty());
  runner_.PoisonStep(runner_.steps().size() + 1);
  Outcome<ScoreResult> scored;
  ASSERT_TRUE(engine_->Score(ScoreOf(Tokens(5), {{3}, {4}}), [&](StatusOr<ScoreResult> result) { scored.Set(std::move(result)); }).ok());
  EXPECT_EQ(scored.Wait().status().code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(Submit(LongTask()).sink->Wait().ok());
  ExpectAllFree();
}

TEST_F(EngineLifecycleTest, TasksKeepTheSnapshotOfTheirSubmission) {
  Start();
  runner_.Hold();
  const Submitted old_one = Submit(LongTask(9, 12));
  runner_.WaitUntilHeld();
  runner_.Swap("generation-2");
  engine_->Publish({.stable = runner_.snapshot()});
  const auto new_snapshot = runner_.snapshot();
  const Submitted new_one = Submit(LongTask(9, 12));
  runner_.Resume();
  ASSERT_TRUE(old_one.sink->Wait().ok());
  ASSERT_TRUE(new_one.sink->Wait().ok());
  EXPECT_EQ(old_one.sink->Wait()->snapshot->info().generation, "generation-1");
  EXPECT_EQ(new_one.sink->Wait()->snapshot->info().generation, "generation-2");
  EXPECT_EQ(old_one.sink->ids(), OracleGenerate(LongTask(9, 12), snapshot_->info()));
  EXPECT_EQ(new_one.sink->ids(), OracleGenerate(LongTask(9, 12), new_snapshot->info()));
  EXPECT_EQ(new_one.sink->Wait()->usage.cached_tokens, 0);  // nothing of the other generation
}

TEST_F(EngineLifecycleTest, LeasesAreCountedByGeneration) {
  Start();
  runner_.Hold();
  const std::string first = runner_.snapshot()->info().generation;
  auto old = Submit(GenerateOf(Tokens(4), 2));
  runner_.WaitUntilHeld();
  runner_.Swap("generation-2");
  engine_->Publish({.stable = runner_.snapshot()});
  auto next = Submit(GenerateOf(Tokens(4), 2));
  auto another = Submit(GenerateOf(Tokens(5), 2));
  EXPECT_EQ(engine_->stats().leases, (std::map<std::string, int64_t>{{first, 1}, {"generation-2", 2}}));
  runner_.Resume();
  for (const Submitted& one : {old, next, another}) ASSERT_TRUE(one.sink->Wait().ok());
  ASSERT_TRUE(engine_->Drain(SteadyTime::max()).ok());  // callbacks come before the books
  EXPECT_TRUE(engine_->stats().leases.empty());
}

TEST_F(EngineLifecycleTest, SnapshotsTakeTurns) {
  Start();
  runner_.Hold();
  const Submitted old_one = Submit(LongTask(4, 20));
  runner_.WaitUntilHeld();
  runner_.Swap("generation-2");
  engine_->Publish({.stable = runner_.snapshot()});
  const Submitted new_one = Submit(LongTask(4, 20));
  runner_.Resume();
  ASSERT_TRUE(old_one.sink->Wait().ok());
  ASSERT_TRUE(new_one.sink->Wait().ok());
  const auto steps = runner_.steps();
  for (size_t i = 3; i + 3 < steps.size(); ++i) EXPECT_NE(steps[i].generation, steps[i + 1].generation) << i;
}

TEST_F(EngineLifecycleTest, APrefixOfAnotherPolicyIsNotReused) {
  Start();
  ASSERT_TRUE(Submit(LongTask(20, 2)).sink->Wait().ok());
  for (const RoutingPolicy& policy :
       {RoutingPolicy{.mode = RoutingPolicy::Mode::kBaseOnly}, RoutingPolicy{.mode = RoutingPolicy::Mode::kForced, .forced = 1},
        RoutingPolicy{.masked = {true, false, false, false}}}) {
    GenerateTask task = LongTask(20, 2);
    task.policy = policy;
    const Submitted other = Submit(task);
    ASSERT_TRUE(other.sink->Wait().ok());
    EXPECT_EQ(other.sink->Wait()->usage.cached_tokens, 0);
    EXPECT_EQ(other.sink->ids(), OracleGenerate(task, snapshot_->info()));
  }
}

TEST_F(EngineLifecycleTest, ReplayedRoutesNeverTouchTheTree) {
  Start();
  GenerateTask task = LongTask(20, 3);
  task.policy = {.mode = RoutingPolicy::Mode::kReplay, .replay_k = 1};
  task.policy.replay_experts.assign(22 * 3, 1);
  task.policy.replay_weights.assign(22 * 3, 0.5f);
  for (int i = 0; i < 2; ++i) {
    const Submitted replayed = Submit(task);
    ASSERT_TRUE(replayed.sink->Wait().ok());
    EXPECT_EQ(replayed.sink->Wait()->usage.cached_tokens, 0);
    EXPECT_EQ(replayed.sink->ids(), OracleGenerate(task, snapshot_->info()));
  }
  EXPECT_EQ(engine_->stats().kv_blocks_cached, 0);
}

TEST_F(EngineLifecycleTest, TimingsComeFromTheClock) {
  Start({.max_running_tasks = 1});
  runner_.Hold();
  const Submitted first = Submit(LongTask(4, 1));
  runner_.WaitUntilHeld();
  const Submitted second = Submit(LongTask(4, 2));
  clock_.AdvanceMs(30);
  runner_.StepOnce();
  runner_.WaitUntilHeld();  // the second's first step
  clock_.AdvanceMs(7);
  runner_.StepOnce();
  runner_.WaitUntilHeld();
  clock_.AdvanceMs(5);
  runner_.Resume();
  EXPECT_EQ(first.sink->Wait()->usage.timings.queue_ms, 0);
  EXPECT_EQ(first.sink->Wait()->usage.timings.prefill_ms, 30);
  const Timings& timings = second.sink->Wait()->usage.timings;
  EXPECT_EQ(timings.queue_ms, 30);
  EXPECT_EQ(timings.prefill_ms, 7);
  EXPECT_EQ(timings.total_ms, 42);
}

TEST_F(EngineLifecycleTest, DrainFinishesWhatWasAcceptedAndRefusesTheRest) {
  Start();
  runner_.Hold();
  const Submitted accepted = Submit(LongTask());
  runner_.WaitUntilHeld();
  EXPECT_EQ(engine_->Drain(SteadyTime::min()).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_FALSE(accepted.sink->outcome().is_set());
  auto sink = std::make_shared<RecordingSink>();
  EXPECT_EQ(engine_->Generate(LongTask(), sink).status().code(), absl::StatusCode::kUnavailable);
  runner_.Resume();
  EXPECT_TRUE(engine_->Drain(SteadyTime::max()).ok());
  EXPECT_TRUE(accepted.sink->outcome().is_set());
  EXPECT_TRUE(accepted.sink->Wait().ok());
}

TEST_F(EngineLifecycleTest, StopCancelsWhatIsLeft) {
  Start({.max_running_tasks = 1});
  runner_.Hold();
  const Submitted running = Submit(LongTask());
  runner_.WaitUntilHeld();
  const Submitted waiting = Submit(LongTask());
  std::thread stopper([&] { engine_->Stop(); });
  // Resume only once the engine refuses new tasks: Stop has begun then.
  while (engine_->Generate(LongTask(), std::make_shared<RecordingSink>()).status().code() != absl::StatusCode::kUnavailable) {
    std::this_thread::yield();
  }
  runner_.Resume();
  stopper.join();
  EXPECT_EQ(CodeOf(running), absl::StatusCode::kCancelled);
  EXPECT_EQ(CodeOf(waiting), absl::StatusCode::kCancelled);
  ExpectAllFree();
  engine_->Stop();  // again: nothing
}

TEST_F(EngineLifecycleTest, DestroyingTheEngineEndsItsTasks) {
  Start();
  runner_.Hold();
  const Submitted running = Submit(LongTask());
  runner_.WaitUntilHeld();
  std::thread destroyer([&] { engine_.reset(); });
  runner_.Resume();
  destroyer.join();
  EXPECT_EQ(running.sink->outcome().calls(), 1);
}

TEST_F(EngineLifecycleTest, PromptsProgressWhileGenerationsFillTheStep) {
  FakeModelRunner runner({.num_blocks = 256});  // all of them run at the same time
  engine_ = *Engine::Create({.max_step_tokens = 8}, &runner);
  runner.Hold();
  std::vector<Submitted> generations;
  for (int i = 0; i < 12; ++i) generations.push_back(Submit(LongTask(1, 60, i)));
  runner.WaitUntilHeld();
  for (int i = 0; i < 6; ++i) {  // all of them decode now, more than a step holds
    runner.StepOnce();
    runner.WaitUntilHeld();
  }
  const Submitted prompt = Submit(LongTask(10, 1, 77));
  for (int i = 0; i < 8; ++i) {  // two rows a step are kept for it
    runner.StepOnce();
    runner.WaitUntilHeld();
  }
  EXPECT_TRUE(prompt.sink->outcome().is_set());
  for (const Submitted& generation : generations) EXPECT_FALSE(generation.sink->outcome().is_set());
  runner.Resume();
  for (int i = 0; i < 12; ++i) {
    ASSERT_TRUE(generations[i].sink->Wait().ok());
    EXPECT_EQ(generations[i].sink->ids(), OracleGenerate(LongTask(1, 60, i), snapshot_->info()));
  }
  for (const auto& step : runner.steps()) EXPECT_LE(step.rows, 8);
  EXPECT_THAT(runner.violations(), IsEmpty());
  engine_.reset();
}

}  // namespace
}  // namespace switchyard
