// The gate's part of /metrics: refused tokens and what tenants use.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <vector>

#include "server/call_gate.h"

namespace switchyard {

// Thread-safe. The gate must outlive it. A series a tenant named in the configuration, one for all others: bounded.
class GateCollectable final : public prometheus::Collectable {
 public:
  explicit GateCollectable(const CallGate& gate) : gate_(gate) {}
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const CallGate& gate_;
};

}  // namespace switchyard
