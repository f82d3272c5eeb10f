// A few threads between the gRPC callbacks (which must not block) and the engine: they tokenise, render templates and build replies.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace switchyard {

// Thread-safe. The destructor runs what is queued, then joins.
class WorkerPool {
 public:
  // `max_queued` jobs, of `max_queued_bytes` in all, may wait.
  WorkerPool(int threads, size_t max_queued, size_t max_queued_bytes);
  ~WorkerPool();
  // New work that keeps `bytes` in memory while it waits. false when one of the two bounds would be passed: the caller refuses the request.
  // Where nothing waits, one job of any size may.
  bool TryPost(size_t bytes, std::function<void()> job);
  // The second half of work already admitted; bounded by what the engine runs, so always accepted.
  void Post(std::function<void()> job);

 private:
  void Run();

  struct Fresh {
    size_t bytes;
    std::function<void()> job;
  };

  const size_t max_queued_, max_queued_bytes_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::deque<Fresh> fresh_;
  size_t fresh_bytes_ = 0;
  std::deque<std::function<void()>> admitted_;
  bool closing_ = false;
  std::vector<std::thread> threads_;  // constant after construction
};

}  // namespace switchyard
