// Many threads at once; meant for the thread sanitizer too.
#include <atomic>
#include <thread>

#include "tests/catalog/catalog_fixture.h"

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

}  // namespace
}  // namespace switchyard
