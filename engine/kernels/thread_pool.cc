#include "engine/kernels/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace switchyard::kernels {

namespace {

// Long enough to bridge the serial work between two kernels of a layer, short enough not to matter to whoever else wants the core.
constexpr std::chrono::microseconds kSpin{100};
constexpr int kChunksPerThread = 8;

thread_local int inline_depth = 0;

inline void CpuRelax() { __builtin_ia32_pause(); }

// Polls until `ready` or the spin budget is over; true when ready.
template <typename Ready>
bool SpinUntil(const Ready& ready) {
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (ready()) return true;
      CpuRelax();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return ready();
}

}  // namespace

// One job at a time. `ticket` holds {job number, chunks not yet claimed}; whoever lowers it by compare-and-swap owns a chunk. The other job
// fields are plain: they are written before the ticket is published and read only between a successful claim and that chunk's completion,
// and the caller does not return before every chunk is complete. A worker that wakes late finds no chunk left and touches nothing.
struct ThreadPool::Impl {
  using Body = std::function<void(int64_t, int64_t)>;

  // Current job, guarded by the ticket protocol above.
  const Body* body = nullptr;
  int64_t count = 0;
  int64_t chunk = 0;
  uint32_t chunks = 0;

  alignas(64) std::atomic<uint64_t> ticket{0};
  alignas(64) std::atomic<uint32_t> incomplete{0};
  alignas(64) std::atomic<bool> workers_sleep{false};
  std::atomic<bool> caller_sleeps{false};
  std::atomic<bool> stop{false};

  std::mutex mutex;  // for the two condition variables only
  std::condition_variable work, done;
  std::vector<std::thread> workers;

  static uint32_t Unclaimed(uint64_t ticket) { return static_cast<uint32_t>(ticket); }

  // Runs one chunk of the current job; false when none is left.
  bool RunOne() {
    uint64_t seen = ticket.load(std::memory_order_acquire);
    do {
      if (Unclaimed(seen) == 0) return false;
    } while (!ticket.compare_exchange_weak(seen, seen - 1, std::memory_order_acq_rel, std::memory_order_acquire));
    const int64_t begin = static_cast<int64_t>(chunks - Unclaimed(seen)) * chunk;
    (*body)(begin, std::min(begin + chunk, count));
    // Sequentially consistent with the caller's announcement that it sleeps: one of the two sees the other.
    if (incomplete.fetch_sub(1) == 1 && caller_sleeps.load()) {
      std::lock_guard<std::mutex> lock(mutex);
      done.notify_one();
    }
    return true;
  }

  bool WorkOrStop() const { return Unclaimed(ticket.load()) != 0 || stop.load(); }

  void WorkerLoop() {
    while (!stop.load(std::memory_order_relaxed)) {
      while (RunOne()) {
      }
      if (SpinUntil([this] { return WorkOrStop(); })) continue;
      // Waits once, not for work: whoever was woken too late for one job spins for the next.
      std::unique_lock<std::mutex> lock(mutex);
      workers_sleep.store(true);
      if (!WorkOrStop()) work.wait(lock);
    }
  }

  void WakeWorkers() {
    if (!workers_sleep.load() || !workers_sleep.exchange(false)) return;
    std::lock_guard<std::mutex> lock(mutex);
    work.notify_all();
  }

  void WaitForCompletion() {
    const auto complete = [this] { return incomplete.load() == 0; };
    if (SpinUntil(complete)) return;
    std::unique_lock<std::mutex> lock(mutex);
    caller_sleeps.store(true);
    done.wait(lock, complete);
    caller_sleeps.store(false);
  }
};

RunInline::RunInline() { ++inline_depth; }
RunInline::~RunInline() { --inline_depth; }

ThreadPool::ThreadPool(int threads) : impl_(std::make_unique<Impl>()) {
  for (int i = 1; i < threads; ++i) impl_->workers.emplace_back([this] { impl_->WorkerLoop(); });
}

ThreadPool::~ThreadPool() {
  impl_->stop.store(true);
  {
    std::lock_guard<std::mutex> lock(impl_->mutex);
    impl_->work.notify_all();
  }
  for (std::thread& worker : impl_->workers) worker.join();
}

int ThreadPool::threads() const { return static_cast<int>(impl_->workers.size()) + 1; }

void ThreadPool::ParallelFor(int64_t count, int64_t grain, const std::function<void(int64_t begin, int64_t end)>& body) {
  if (count <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  if (threads() == 1 || count <= grain || inline_depth > 0) return body(0, count);

  Impl& impl = *impl_;
  const int64_t wanted = static_cast<int64_t>(threads()) * kChunksPerThread;
  impl.body = &body;
  impl.count = count;
  impl.chunk = std::max(grain, (count + wanted - 1) / wanted);
  impl.chunks = static_cast<uint32_t>((count + impl.chunk - 1) / impl.chunk);
  impl.incomplete.store(impl.chunks, std::memory_order_relaxed);
  const uint64_t job = (impl.ticket.load(std::memory_order_relaxed) >> 32) + 1;
  impl.ticket.store(job << 32 | impl.chunks);
  impl.WakeWorkers();
  while (impl.RunOne()) {
  }
  impl.WaitForCompletion();
}

}  // namespace switchyard::kernels
