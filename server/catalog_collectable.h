// The catalog's part of /metrics: changes, how long their steps take, memory, and what is retired.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <vector>

#include "engine/catalog/catalog.h"

namespace switchyard {

// Thread-safe. The catalog must outlive it; it may have been stopped.
class CatalogCollectable final : public prometheus::Collectable {
 public:
  explicit CatalogCollectable(const Catalog& catalog) : catalog_(catalog) {}
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const Catalog& catalog_;
};

}  // namespace switchyard
