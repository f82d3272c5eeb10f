// Counts durations into fixed buckets.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace switchyard {

// Buckets in seconds; lock-free. Thread-safe.
class LatencyHistogram {
 public:
  static constexpr std::array<double, 14> kBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30};

  void Observe(double seconds) {
    const auto bucket = std::lower_bound(kBounds.begin(), kBounds.end(), seconds) - kBounds.begin();
    buckets_[static_cast<size_t>(bucket)].fetch_add(1, std::memory_order_relaxed);
    sum_microseconds_.fetch_add(static_cast<uint64_t>(seconds * 1e6), std::memory_order_relaxed);
  }

  struct View {
    std::vector<uint64_t> cumulative;  // one a bound
    uint64_t count = 0;
    double sum = 0;
  };
  View view() const {
    View view;
    for (size_t i = 0; i < kBounds.size(); ++i) {
      view.count += buckets_[i].load(std::memory_order_relaxed);
      view.cumulative.push_back(view.count);
    }
    view.count += buckets_[kBounds.size()].load(std::memory_order_relaxed);
    view.sum = static_cast<double>(sum_microseconds_.load(std::memory_order_relaxed)) * 1e-6;
    return view;
  }

 private:
  std::array<std::atomic<uint64_t>, kBounds.size() + 1> buckets_{};
  std::atomic<uint64_t> sum_microseconds_{0};
};

}  // namespace switchyard
