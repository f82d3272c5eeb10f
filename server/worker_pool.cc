#include "server/worker_pool.h"

#include <algorithm>
#include <utility>

namespace switchyard {

WorkerPool::WorkerPool(int threads, size_t max_queued, size_t max_queued_bytes)
    : max_queued_(max_queued), max_queued_bytes_(max_queued_bytes) {
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

bool WorkerPool::TryPost(size_t bytes, std::function<void()> job) {
  {
    std::lock_guard lock(mutex_);
    if (closing_ || fresh_.size() >= max_queued_) return false;
    if (!fresh_.empty() && bytes > max_queued_bytes_ - std::min(fresh_bytes_, max_queued_bytes_)) return false;
    fresh_.push_back({bytes, std::move(job)});
    fresh_bytes_ += bytes;
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
    std::function<void()> job;
    if (!admitted_.empty()) {
      job = std::move(admitted_.front());
      admitted_.pop_front();
    } else if (!fresh_.empty()) {
      fresh_bytes_ -= fresh_.front().bytes;
      job = std::move(fresh_.front().job);
      fresh_.pop_front();
    } else {
      return;  // closing, and nothing is left
    }
    lock.unlock();
    job();
    job = nullptr;
    lock.lock();
  }
}

}  // namespace switchyard
