// Everything /metrics shows, made when Prometheus asks. docs/metrics.md lists every name; a test compares.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <string>
#include <vector>

#include "engine/runtime/engine.h"
#include "server/request_metrics.h"

namespace switchyard {

// What stays the same while experts and routers come and go.
struct ResidentBytes {
  int64_t base = 0, kv = 0;
};

// Thread-safe: Collect may run on two threads at once. Never throws (an exception would cross the HTTP server's C code).
class MetricsCollectable final : public prometheus::Collectable {
 public:
  MetricsCollectable(const Engine& engine, const RequestMetrics& requests, ResidentBytes resident);
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const Engine& engine_;  // outlives the exposer
  const RequestMetrics& requests_;
  const ResidentBytes resident_;
  const double start_time_;  // seconds since the epoch
};

}  // namespace switchyard
