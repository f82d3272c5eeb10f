// Metric families in the making, as the collectables of /metrics return them.
#pragma once

#include <prometheus/metric_family.h>

#include <deque>
#include <iterator>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/latency_histogram.h"

namespace switchyard {

// Belongs to one call of Collect.
class MetricFamilies {
 public:
  using Labels = std::vector<std::pair<std::string, std::string>>;

  // Stays where it is until Take.
  prometheus::MetricFamily& Family(const char* name, const char* help, prometheus::MetricType type) {
    families_.push_back({name, help, type, {}});
    return families_.back();
  }
  static void Add(prometheus::MetricFamily& family, const Labels& labels, double value) {
    prometheus::ClientMetric metric;
    for (const auto& [name, text] : labels) metric.label.push_back({name, text});
    (family.type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
    family.metric.push_back(std::move(metric));
  }
  void Gauge(const char* name, const char* help, double value) { Add(Family(name, help, prometheus::MetricType::Gauge), {}, value); }
  void Counter(const char* name, const char* help, double value) { Add(Family(name, help, prometheus::MetricType::Counter), {}, value); }
  static void AddHistogram(prometheus::MetricFamily& family, const Labels& labels, const LatencyHistogram::View& view) {
    prometheus::ClientMetric metric;
    for (const auto& [name, text] : labels) metric.label.push_back({name, text});
    metric.histogram.sample_count = view.count;
    metric.histogram.sample_sum = view.sum;
    for (size_t i = 0; i < view.cumulative.size(); ++i)
      metric.histogram.bucket.push_back({view.cumulative[i], LatencyHistogram::kBounds[i]});
    metric.histogram.bucket.push_back({view.count, std::numeric_limits<double>::infinity()});
    family.metric.push_back(std::move(metric));
  }
  std::vector<prometheus::MetricFamily> Take() {
    return {std::make_move_iterator(families_.begin()), std::make_move_iterator(families_.end())};
  }

 private:
  std::deque<prometheus::MetricFamily> families_;
};

}  // namespace switchyard
