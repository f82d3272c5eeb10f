// A small pool for the numeric kernels: one caller (the engine thread) and n - 1 workers. Used instead of OpenMP, whose spinning waits
// stall every parallel region as soon as another thread wants a core.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace switchyard::kernels {

// Parallel* may be called by one thread at a time, not counting threads inside RunInline. Idle workers spin for about 100 microseconds (a
// call then costs about one), then sleep.
class ThreadPool {
 public:
  explicit ThreadPool(int threads);  // >= 1, counting the caller
  ~ThreadPool();
  int threads() const;
  // Calls body(begin, end) over disjoint ranges of [0, count), each at least `grain` long but the last; returns when all are done.
  // body must not throw.
  void ParallelFor(int64_t count, int64_t grain, const std::function<void(int64_t begin, int64_t end)>& body);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// While one lives, Parallel* of any pool runs whole on the calling thread: what is computed beside the engine neither waits for the pool
// nor disturbs it. Results are the same bits. Nests.
class RunInline {
 public:
  RunInline();
  ~RunInline();
  RunInline(const RunInline&) = delete;
  RunInline& operator=(const RunInline&) = delete;
};

}  // namespace switchyard::kernels
