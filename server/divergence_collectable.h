// What the watch over canary and shadow has measured, as Prometheus sees it. docs/metrics.md explains every name.
#pragma once

#include <prometheus/collectable.h>

#include <vector>

#include "server/divergence_watch.h"

namespace switchyard {

// Thread-safe. The watch must outlive it.
class DivergenceCollectable final : public prometheus::Collectable {
 public:
  explicit DivergenceCollectable(const DivergenceWatch& watch) : watch_(watch) {}
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const DivergenceWatch& watch_;
};

}  // namespace switchyard
