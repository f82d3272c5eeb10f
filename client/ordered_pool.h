// Bounded parallel work whose results come out in the order the items went in.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace switchyard::client {

// Runs work(item) on `concurrency` threads. `next` and `sink` run on the calling thread, one at a time and never under a lock: `next` hands
// out items until it is empty, `sink` takes results in that order and returns false to stop. At most 4 x concurrency items are held at
// once, so a slow item stops the intake instead of filling the memory. Returns after every thread has ended; after a stop, calls in
// progress are waited for and their results dropped. REQUIRES: concurrency >= 1.
template <typename Item, typename Result>
void RunOrdered(int concurrency, const std::function<std::optional<Item>()>& next, const std::function<Result(Item&)>& work,
                const std::function<bool(Result)>& sink) {
  std::mutex mutex;
  std::condition_variable to_workers, to_caller;
  std::deque<std::pair<int64_t, Item>> waiting;  // guarded by mutex
  std::map<int64_t, Result> finished;            // guarded by mutex
  bool closed = false;                           // guarded by mutex

  const auto worker = [&] {
    std::unique_lock<std::mutex> lock(mutex);
    for (;;) {
      to_workers.wait(lock, [&] { return closed || !waiting.empty(); });
      if (waiting.empty()) return;
      auto [index, item] = std::move(waiting.front());
      waiting.pop_front();
      lock.unlock();
      Result result = work(item);
      lock.lock();
      finished.emplace(index, std::move(result));
      to_caller.notify_one();
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < concurrency; ++i) threads.emplace_back(worker);

  const int64_t window = int64_t{4} * concurrency;
  int64_t taken = 0, delivered = 0;
  bool more = true, going = true;
  while (going) {
    while (more && taken - delivered < window) {
      std::optional<Item> item = next();
      if (!item.has_value()) {
        more = false;
        break;
      }
      const std::lock_guard<std::mutex> lock(mutex);
      waiting.emplace_back(taken++, *std::move(item));
      to_workers.notify_one();
    }
    if (delivered == taken) break;
    std::unique_lock<std::mutex> lock(mutex);
    to_caller.wait(lock, [&] { return finished.count(delivered) > 0; });
    auto node = finished.extract(delivered++);
    lock.unlock();
    going = sink(std::move(node.mapped()));
  }
  {
    const std::lock_guard<std::mutex> lock(mutex);
    closed = true;
    waiting.clear();
  }
  to_workers.notify_all();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace switchyard::client
