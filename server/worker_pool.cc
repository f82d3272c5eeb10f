#include "server/worker_pool.h"

#include <utility>

namespace switchyard {

WorkerPool::WorkerPool(int threads, size_t max_queued) : max_queued_(max_queued) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

WorkerPool::~WorkerPool() {
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

bool WorkerPool::TryPost(std::function<void()> job) {
  {
    std::lock_guard lock(mutex_);
    if (closing_ || fresh_.size() >= max_queued_) return false;
    fresh_.push_back(std::move(job));
  }
  wake_.notify_one();
  return true;
}

void WorkerPool::Post(std::function<void()> job) {
  {
    std::lock_guard lock(mutex_);
    admitted_.push_back(std::move(job));
  }
  wake_.notify_one();
}

void WorkerPool::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return closing_ || !fresh_.empty() || !admitted_.empty(); });
    // Finishing what is under way frees memory sooner than starting something new.
    std::deque<std::function<void()>>& queue = admitted_.empty() ? fresh_ : admitted_;
    if (queue.empty()) return;  // closing, and nothing is left
    std::function<void()> job = std::move(queue.front());
    queue.pop_front();
    lock.unlock();
    job();
    job = nullptr;
    lock.lock();
  }
}

}  // namespace switchyard
