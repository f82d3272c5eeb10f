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
  WorkerPool(int threads, size_t max_queued);
  ~WorkerPool();
  // New work. false when max_queued jobs wait: the caller refuses the request.
  bool TryPost(std::function<void()> job);
  // The second half of work already admitted; bounded by what the engine runs, so always accepted.
  void Post(std::function<void()> job);

 private:
  void Run();

  const size_t max_queued_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::deque<std::function<void()>> fresh_, admitted_;
  bool closing_ = false;
  std::vector<std::thread> threads_;  // constant after construction
};

}  // namespace switchyard
