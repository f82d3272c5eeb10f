// Many threads at once; meant for the thread sanitizer too.
#include <atomic>
#include <thread>

#include "tests/catalog/catalog_fixture.h"
#include "tests/runtime/engine_fixture.h"

namespace switchyard {
namespace {

TEST_F(CatalogTest, SwapsReadersAndLeasesAtOnceEndConsistent) {
  options_.max_queued = 64;
  Start();
  constexpr int kWriters = 3, kSwaps = 60;
  std::atomic<bool> stop = false;
  std::atomic<int> changed = 0;
  std::vector<std::thread> threads;
  for (int w = 0; w < kWriters; ++w) {
    threads.emplace_back([&, w] {
      for (int i = 0; i < kSwaps; ++i) {
        const bool broken = i % 7 == 3;
        const auto id = catalog_->Submit(Of(Load(w == 0 ? "law" : "extra" + std::to_string(w),
                                                 broken       ? "nowhere"
                                                 : i % 2 == 0 ? "law-2"
                                                              : "law-1",
                                                 w == 0 || i > 0)));
        if (!id.ok()) continue;
        const auto operation = catalog_->Wait(*id, Clock::Time::max());
        if (operation.ok() && operation->changed) ++changed;
        if (operation.ok()) {
          EXPECT_EQ(operation->state == OperationState::kFailed, broken) << operation->error;
        }
      }
    });
  }
  // Requests: hold a set for a moment; what they see never changes under them and belongs together.
  for (int r = 0; r < 3; ++r) {
    threads.emplace_back([&] {
      uint64_t last = 0;
      while (!stop) {
        const ServingSet lease = set();
        EXPECT_GE(lease.revision, last);
        last = lease.revision;
        std::string expected = "base-1";
        for (const auto& expert : lease.stable->info().experts) expected += "/" + expert.name + "=" + expert.generation;
        EXPECT_EQ(lease.stable->info().generation, expected + "/router=r1");
        const CatalogView view = catalog_->Describe();
        EXPECT_EQ(view.content.experts.size(), view.experts.size());
        catalog_->ListOperations();
      }
    });
  }
  for (int i = 0; i < kWriters; ++i) threads[i].join();
  stop = true;
  for (size_t i = kWriters; i < threads.size(); ++i) threads[i].join();
  EXPECT_EQ(set().revision, 1u + changed);
  // Everything old is gone: what lives is what the view lists.
  const CatalogView view = catalog_->Describe();
  std::set<std::string> generations;
  for (const auto& e : view.content.experts) generations.insert(e.generation);
  while (*builder_.live_parts != static_cast<int>(generations.size()) + 1) std::this_thread::yield();
  while (*builder_.live_snapshots != 1) std::this_thread::yield();
}

// Canaries published, promoted and taken away under an engine at work: a request answers as the snapshot it chose, whatever became of it.
TEST_F(CatalogTest, CanariesComeAndGoUnderRequests) {
  WriteFakeRouter(Root("router-3"), "r3", {{"law", "law1"}, {"code", "code1"}, {"zero", "zero"}});
  FakeModelRunner runner;
  builder_.like_ = runner.snapshot()->info();
  const auto engine = *Engine::Create({}, &runner);
  catalog_ = *Catalog::Create(options_, &builder_, Initial(), [&](ServingSet set) { engine->Publish(std::move(set)); });
  EXPECT_EQ(Do(Of(LoadRouter("two", "router-3"))).state, OperationState::kSucceeded);

  std::atomic<bool> stop = false;
  std::atomic<int> on_stable = 0, on_canary = 0;
  std::vector<std::thread> clients;
  for (int c = 0; c < 3; ++c) {
    clients.emplace_back([&, c] {
      for (int i = c; !stop; ++i) {
        const auto serving = engine->serving();
        const bool canary = i % 2 == 0 && serving->canary != nullptr;
        GenerateTask task = GenerateOf(Tokens(2 + i % 9, i % 5), 3);
        task.snapshot = canary ? serving->canary : serving->stable;
        const auto sink = std::make_shared<RecordingSink>();
        const auto id = engine->Generate(task, sink);
        ASSERT_TRUE(id.ok()) << id.status();
        const auto& result = sink->Wait();
        ASSERT_TRUE(result.ok()) << result.status();
        EXPECT_EQ(result->snapshot->info().generation, task.snapshot->info().generation);
        EXPECT_EQ(sink->ids(), OracleGenerate(task, task.snapshot->info()));
        ++(canary ? on_canary : on_stable);
      }
    });
  }
  // `one` and `two` take turns: each rival is promoted every other time, and taken away else. Each waits to have been asked.
  std::string stable = "one", rival = "two";
  for (int round = 0; round < 30 && !HasFailure(); ++round) {
    EXPECT_EQ(Do(Of(RoleChange{RouterRole::kCanary, rival, 0.5})).state, OperationState::kSucceeded);
    for (const int before = on_canary; on_canary == before && !HasFailure();) std::this_thread::yield();
    if (round % 2 == 0) {
      EXPECT_EQ(Do(Of(PromoteChange{})).state, OperationState::kSucceeded);
      std::swap(stable, rival);
    } else {
      EXPECT_EQ(Do(Of(RoleChange{RouterRole::kCanary, "", 0})).state, OperationState::kSucceeded);
    }
    EXPECT_EQ(engine->serving()->canary, nullptr);
    EXPECT_EQ(engine->serving()->stable->info().router_generation, stable == "one" ? "r1" : "r3");
  }
  stop = true;
  for (std::thread& client : clients) client.join();
  EXPECT_GT(on_stable, 0);
  EXPECT_THAT(runner.violations(), ::testing::IsEmpty());
  // Leases have ended: only what is served is left.
  while (*builder_.live_snapshots != 1) std::this_thread::yield();
  catalog_->Stop();
}

}  // namespace
}  // namespace switchyard
