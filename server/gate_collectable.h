// The gate's part of /metrics: refused tokens and what tenants use.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <vector>

#include "server/call_gate.h"

namespace switchyard {

// Thread-safe. Both must outlive it. A series a tenant named in the configuration, one for all others: bounded.
class GateCollectable final : public prometheus::Collectable {
 public:
  // `admin`: of the admin port, or null.
  GateCollectable(const CallGate& gate, const Authorizer* admin) : gate_(gate), admin_(admin) {}
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const CallGate& gate_;
  const Authorizer* const admin_;
};

}  // namespace switchyard
