// What is measured of a canary and a shadow, on a real engine over the fake model: its routes follow the snapshot's generation.
#include "server/divergence_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

#include "absl/synchronization/notification.h"
#include "server/warm_up.h"
#include "tests/testing/fake_model_runner.h"

namespace switchyard {
namespace {

using ::testing::HasSubstr;

class DivergenceWatchTest : public ::testing::Test {
 protected:
  std::shared_ptr<const Snapshot> SnapshotLike(const std::string& generation) const {
    SnapshotInfo info = runner_.snapshot()->info();
    info.generation = generation;
    return std::make_shared<FakeSnapshot>(info);
  }
  void Publish(std::shared_ptr<const Snapshot> canary, std::shared_ptr<const Snapshot> shadow, uint64_t revision = 1) {
    engine_->Publish({.stable = stable_,
                      .canary = std::move(canary),
                      .canary_share = 0.5,
                      .shadow = std::move(shadow),
                      .shadow_share = 1,
                      .revision = revision});
  }
  RouteTask Tokens(const std::shared_ptr<const Snapshot>& on, int first = 2) const {
    RouteTask task;
    task.snapshot = on;
    for (int i = 0; i < 10; ++i) task.tokens.push_back(first + i);
    return task;
  }
  ScoreTask Question(int number) const {
    ScoreTask task;
    task.snapshot = stable_;
    task.groups.emplace_back();
    for (int answer = 0; answer < 4; ++answer)
      task.groups[0].push_back({.tokens = {2, number + 2, 9, answer + 20, answer + 30}, .score_from = 3});
    return task;
  }
  // Until `done` or ten seconds have passed.
  template <typename Done>
  static bool Eventually(Done done) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!done() && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    return done();
  }
  static bool Compared(const DivergenceWatch& watch, RouterRole role, uint64_t count) {
    return Eventually([&] {
      const auto totals = watch.totals(role);
      return totals && totals->figures.compared + totals->figures.skipped + totals->figures.failed >= count;
    });
  }
  // One after the other, so that none is skipped for being busy.
  void AnswerAll(DivergenceWatch& watch, RouterRole role, int count) {
    const auto before = watch.totals(role);
    const uint64_t base = before ? before->figures.compared : 0;
    for (int i = 0; i < count; ++i) {
      watch.Answered(Question(i));
      ASSERT_TRUE(Compared(watch, role, base + i + 1));
    }
  }

  FakeModelRunner runner_;
  std::unique_ptr<Engine> engine_ = *Engine::Create({}, &runner_);
  std::shared_ptr<const Snapshot> stable_ = runner_.snapshot();
};

// The best continuations by an engine of its own.
size_t BestOn(const std::shared_ptr<const Snapshot>& snapshot, ScoreTask task) {
  FakeModelRunner runner;
  const auto engine = *Engine::Create({}, &runner);
  task.snapshot = snapshot;
  absl::Notification ended;
  size_t best = 0;
  EXPECT_TRUE(engine
                  ->Score(std::move(task),
                          [&](StatusOr<ScoreResult> result) {
                            const auto sum = [&](size_t i) {
                              return result->groups[0][i].logprobs[0] + double{result->groups[0][i].logprobs[1]};
                            };
                            for (size_t i = 1; i < 4; ++i) best = sum(i) > sum(best) ? i : best;
                            ended.Notify();
                          })
                  .ok());
  ended.WaitForNotification();
  return best;
}

TEST_F(DivergenceWatchTest, AShadowIsComparedByDecisionsWeightsAndAnswers) {
  const auto shadow = SnapshotLike("generation-2");
  Publish(nullptr, shadow);
  DivergenceWatch watch({}, engine_.get(), nullptr);
  EXPECT_EQ(watch.totals(RouterRole::kShadow), std::nullopt) << "no figures before there are any";
  AnswerAll(watch, RouterRole::kShadow, 12);
  uint64_t flips = 0;
  for (int i = 0; i < 12; ++i) flips += BestOn(stable_, Question(i)) != BestOn(shadow, Question(i));
  ASSERT_GT(flips, 0u) << "the fake must disagree somewhere for this test to say anything";
  const auto candidate = watch.candidate(RouterRole::kShadow);
  ASSERT_TRUE(candidate);
  EXPECT_EQ(candidate->stable, "generation-1");
  EXPECT_EQ(candidate->candidate, "generation-2");
  const DivergenceFigures& figures = candidate->figures;
  EXPECT_EQ(figures.compared, 12u);
  EXPECT_EQ(figures.answers, 12u);
  EXPECT_EQ(figures.answer_flips, flips);
  // The context's three tokens once, then the first token of each of four answers: the last ones are not computed.
  ASSERT_EQ(figures.routes.layers.size(), 3u);
  EXPECT_EQ(figures.routes.layers[0].rows, 12u * 7);
  EXPECT_GT(figures.routes.Sum().best_changed, 0u);
  EXPECT_GE(figures.routes.Sum().set_changed, figures.routes.Sum().best_changed / 2);
  EXPECT_GT(figures.routes.Sum().js_nats, 0);
}

TEST_F(DivergenceWatchTest, TheSameRouterIsNotDifferent) {
  Publish(nullptr, SnapshotLike("generation-1"));
  DivergenceWatch watch({}, engine_.get(), nullptr);
  AnswerAll(watch, RouterRole::kShadow, 3);
  const RouteDivergence::Layer sum = watch.totals(RouterRole::kShadow)->figures.routes.Sum();
  EXPECT_GT(sum.rows, 0u);
  EXPECT_EQ(sum.best_changed + sum.set_changed + watch.totals(RouterRole::kShadow)->figures.answer_flips, 0u);
  EXPECT_DOUBLE_EQ(sum.js_nats, 0);
}

TEST_F(DivergenceWatchTest, OnlyLearnedRoutingOfTheServedSnapshotsIsCompared) {
  const auto canary = SnapshotLike("generation-2"), old = SnapshotLike("generation-0");
  Publish(canary, nullptr);
  DivergenceWatch watch({.canary_sample = 1}, engine_.get(), nullptr);
  RouteTask forced = Tokens(canary);
  forced.policy.mode = RoutingPolicy::Mode::kForced;
  forced.policy.forced = 0;
  watch.Answered(forced);
  watch.Answered(Tokens(stable_));  // there is no shadow
  watch.Answered(Tokens(old));
  EXPECT_EQ(watch.totals(RouterRole::kCanary), std::nullopt);
  EXPECT_EQ(watch.totals(RouterRole::kShadow), std::nullopt);
  watch.Answered(Tokens(canary));
  ASSERT_TRUE(Compared(watch, RouterRole::kCanary, 1));
  EXPECT_EQ(watch.totals(RouterRole::kCanary)->figures.answers, 0u) << "a route has no answer";
  EXPECT_EQ(watch.totals(RouterRole::kCanary)->figures.routes.layers[0].rows, 10u);
}

TEST_F(DivergenceWatchTest, ASampleOfNoneIsNone) {
  Publish(SnapshotLike("generation-2"), nullptr);
  DivergenceWatch watch({.canary_sample = 0}, engine_.get(), nullptr);
  for (int i = 0; i < 50; ++i) watch.Answered(Tokens(engine_->serving()->canary));
  EXPECT_EQ(watch.totals(RouterRole::kCanary), std::nullopt);
}

TEST_F(DivergenceWatchTest, NothingIsComputedBeyondTheBoundOnComparisons) {
  Publish(nullptr, SnapshotLike("generation-2"));
  DivergenceWatch watch({.max_running = 1}, engine_.get(), nullptr);
  runner_.Hold();
  for (int i = 0; i < 3; ++i) watch.Answered(Tokens(stable_));
  EXPECT_EQ(watch.totals(RouterRole::kShadow)->figures.skipped, 2u);
  runner_.Resume();
  ASSERT_TRUE(Compared(watch, RouterRole::kShadow, 3));
  EXPECT_EQ(watch.totals(RouterRole::kShadow)->figures.compared, 1u);
}

TEST_F(DivergenceWatchTest, ACrossedBoundTakesTheRoleAwayOnceARevision) {
  Publish(nullptr, SnapshotLike("generation-2"), 7);
  std::atomic<int> calls{0};
  std::string reason;
  DivergenceWatch watch({.max_best_changed = 0.1, .min_requests = 6}, engine_.get(),
                        [&](RouterRole role, uint64_t revision, const std::string& why, const DivergenceWatch::Settled& settled) {
                          EXPECT_EQ(role, RouterRole::kShadow);
                          EXPECT_EQ(revision, calls == 0 ? 7u : 8u);
                          reason = why;
                          ++calls;
                          settled(true);
                        });
  AnswerAll(watch, RouterRole::kShadow, 5);
  EXPECT_EQ(calls, 0) << "five comparisons are too few";
  AnswerAll(watch, RouterRole::kShadow, 5);
  ASSERT_TRUE(Eventually([&] { return calls > 0; }));
  EXPECT_EQ(calls, 1) << "one verdict a revision";
  EXPECT_THAT(reason, HasSubstr("another best expert"));
  EXPECT_EQ(watch.totals(RouterRole::kShadow)->taken_away, 1u);
  Publish(nullptr, engine_->serving()->shadow, 8);  // something else changed; the shadow is still there
  AnswerAll(watch, RouterRole::kShadow, 1);
  EXPECT_TRUE(Eventually([&] { return calls == 2; }));
}

// A full queue of changes, or a disk that cannot keep them.
TEST_F(DivergenceWatchTest, ARoleThatCouldNotBeTakenAwayIsTriedAgain) {
  Publish(nullptr, SnapshotLike("generation-2"), 7);
  std::atomic<int> calls{0};
  DivergenceWatch watch({.max_best_changed = 0.1, .min_requests = 1, .retry_after = std::chrono::milliseconds(0)}, engine_.get(),
                        [&](RouterRole, uint64_t revision, const std::string&, const DivergenceWatch::Settled& settled) {
                          EXPECT_EQ(revision, 7u);
                          settled(++calls == 3);
                        });
  AnswerAll(watch, RouterRole::kShadow, 20);
  EXPECT_EQ(calls, 3) << "twice in vain, then done";
  EXPECT_EQ(watch.totals(RouterRole::kShadow)->taken_away, 1u);
  EXPECT_EQ(watch.totals(RouterRole::kShadow)->not_taken_away, 2u);
}

TEST_F(DivergenceWatchTest, ARoleThatCouldNotBeTakenAwayIsLeftInPeaceForAWhile) {
  Publish(nullptr, SnapshotLike("generation-2"), 7);
  std::atomic<int> calls{0};
  DivergenceWatch watch({.max_best_changed = 0.1, .min_requests = 1, .retry_after = std::chrono::hours(1)}, engine_.get(),
                        [&](RouterRole, uint64_t, const std::string&, const DivergenceWatch::Settled& settled) {
                          ++calls;
                          settled(false);
                        });
  AnswerAll(watch, RouterRole::kShadow, 20);
  EXPECT_EQ(calls, 1);
}

TEST_F(DivergenceWatchTest, ANewRivalBeginsWithoutFigures) {
  Publish(nullptr, SnapshotLike("generation-2"));
  DivergenceWatch watch({}, engine_.get(), nullptr);
  AnswerAll(watch, RouterRole::kShadow, 2);
  Publish(nullptr, SnapshotLike("generation-3"), 2);
  EXPECT_EQ(watch.candidate(RouterRole::kShadow)->candidate, "generation-3");
  EXPECT_EQ(watch.candidate(RouterRole::kShadow)->figures.compared, 0u);
  AnswerAll(watch, RouterRole::kShadow, 1);
  EXPECT_EQ(watch.candidate(RouterRole::kShadow)->figures.compared, 1u);
  EXPECT_EQ(watch.totals(RouterRole::kShadow)->figures.compared, 3u) << "counters only grow";
  EXPECT_EQ(watch.candidate(RouterRole::kCanary), std::nullopt);
}

// The second step of a comparison is the rival's.
TEST_F(DivergenceWatchTest, ARivalThatFailsWhereStableDoesNotLosesItsRole) {
  Publish(nullptr, SnapshotLike("generation-2"));
  std::atomic<int> calls{0};
  DivergenceWatch watch({}, engine_.get(), [&](RouterRole, uint64_t, const std::string& why, const DivergenceWatch::Settled& settled) {
    EXPECT_THAT(why, HasSubstr("INTERNAL"));
    ++calls;
    settled(true);
  });
  runner_.FailStep(2);
  watch.Answered(Tokens(stable_));
  EXPECT_TRUE(Eventually([&] { return calls == 1; }));
  EXPECT_EQ(watch.totals(RouterRole::kShadow)->figures.failed, 1u);
}

TEST_F(DivergenceWatchTest, ACanarysOwnFailureCounts) {
  const auto canary = SnapshotLike("generation-2");
  Publish(canary, nullptr);
  int calls = 0;
  DivergenceWatch watch({.max_failures = 2}, engine_.get(),
                        [&](RouterRole role, uint64_t, const std::string&, const DivergenceWatch::Settled& settled) {
                          EXPECT_EQ(role, RouterRole::kCanary);
                          ++calls;
                          settled(true);
                        });
  watch.Failed(stable_, {}, Internal("layer 1 is not finite"));
  watch.Failed(canary, {}, Cancelled("gone"));
  watch.Failed(canary, {}, Internal("layer 1 is not finite"));
  EXPECT_EQ(calls, 0);
  watch.Failed(canary, {}, Internal("layer 1 is not finite"));
  EXPECT_EQ(calls, 1);
}

TEST(CrossedBound, AShareNeedsItsWholeIntervalBeyondTheBound) {
  DivergenceOptions options{.max_answer_flips = 0.2, .min_requests = 10};
  DivergenceFigures figures;
  figures.compared = figures.answers = 20;
  figures.answer_flips = 6;  // 30 %, but at least 14.5 % only
  EXPECT_EQ(CrossedBound(figures, options), "");
  figures.compared = figures.answers = 200;
  figures.answer_flips = 60;
  EXPECT_THAT(CrossedBound(figures, options), HasSubstr("30.0 % of 200"));
  figures.compared = 9;
  EXPECT_EQ(CrossedBound(figures, options), "") << "too few comparisons for a verdict";
}

TEST(CrossedBound, ByWeightsAndNeverByDefault) {
  DivergenceFigures figures;
  figures.compared = 1000;
  figures.answers = figures.answer_flips = 1000;
  figures.routes.layers = {{.rows = 100, .best_changed = 100, .set_changed = 100, .js_nats = 69}};
  EXPECT_EQ(CrossedBound(figures, {}), "");
  EXPECT_THAT(CrossedBound(figures, {.max_js_nats = 0.5}), HasSubstr("0.6900 nats over 1000"));
  EXPECT_EQ(CrossedBound(figures, {.max_js_nats = 0.69}), "");
}

TEST_F(DivergenceWatchTest, WarmingRunsEveryNewSnapshotAndExpertOnce) {
  EXPECT_TRUE(WarmUp(*engine_, {.stable = stable_}).ok());
  EXPECT_TRUE(runner_.steps().empty()) << "what is served is warm";
  SnapshotInfo info = stable_->info();
  info.generation = "generation-2";
  info.experts[1].generation = "new";
  const auto next = std::make_shared<FakeSnapshot>(info);
  EXPECT_TRUE(WarmUp(*engine_, {.stable = next, .canary = next, .canary_share = 0.5}).ok());
  int segments = 0;
  for (const auto& step : runner_.steps()) segments += step.segments;
  EXPECT_EQ(segments, 2) << "the router, and the one new expert; in one step, unless the engine was quick to begin";
  EXPECT_LE(runner_.steps().size(), 2u);
}

TEST_F(DivergenceWatchTest, WarmingFindsNumbersThatDoNotWork) {
  runner_.FailStep(1);
  const Status status = WarmUp(*engine_, {.stable = SnapshotLike("generation-2")});
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(Message(status)), HasSubstr("router \"router\""));
  engine_->Stop();
  EXPECT_TRUE(WarmUp(*engine_, {.stable = SnapshotLike("generation-3")}).ok()) << "a server that stops says nothing of the snapshot";
}

}  // namespace
}  // namespace switchyard
