#include "server/request_metrics.h"

#include <algorithm>

namespace switchyard {

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
