#include "server/request_metrics.h"

#include <algorithm>

namespace switchyard {

void LatencyHistogram::Observe(double seconds) {
  const auto bucket = std::lower_bound(kBounds.begin(), kBounds.end(), seconds) - kBounds.begin();
  buckets_[bucket].fetch_add(1, std::memory_order_relaxed);
  sum_microseconds_.fetch_add(static_cast<uint64_t>(seconds * 1e6), std::memory_order_relaxed);
}

LatencyHistogram::View LatencyHistogram::view() const {
  View view;
  for (size_t i = 0; i < kBounds.size(); ++i) {
    view.count += buckets_[i].load(std::memory_order_relaxed);
    view.cumulative.push_back(view.count);
  }
  view.count += buckets_[kBounds.size()].load(std::memory_order_relaxed);
  view.sum = static_cast<double>(sum_microseconds_.load(std::memory_order_relaxed)) * 1e-6;
  return view;
}

RequestMetrics::Request RequestMetrics::Begin(const std::string& method) {
  const auto found = std::find(kMethods.begin(), kMethods.end(), method);
  return Request(this, static_cast<size_t>(found - kMethods.begin()));
}

void RequestMetrics::Request::FirstResult() {
  if (std::exchange(first_result_, true)) return;
  metrics_->first_token_.Observe(Elapsed());
}

void RequestMetrics::Request::End(const Status& status) {
  metrics_->duration_[method_].Observe(Elapsed());
  std::lock_guard lock(metrics_->mutex_);
  ++metrics_->totals_[{kMethods[method_], absl::StatusCodeToString(status.code())}];
}

std::map<std::pair<std::string, std::string>, uint64_t> RequestMetrics::totals() const {
  std::lock_guard lock(mutex_);
  return totals_;
}

}  // namespace switchyard
