// What a placement would cost on the routes that were seen.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/stats/route_record.h"
#include "trainer/placement/replication.h"

namespace switchyard::trainer {

// A token's hidden state is at home on one device and goes to every other device that answers one of its experts, once each, and back. Home
// may be any device: the estimate is the mean over all. An expert is answered at home where home holds it, else on one of its hosts, dealt
// out by their weights (smooth weighted round robin, token by token).
struct Traffic {
  double sends = 0;          // other devices a token goes to in this layer, mean
  std::vector<double> load;  // [G] expert applications on the device, of all; sums to 1, or empty when there was none
  double imbalance = 0;      // largest load over the mean
};
Traffic EstimateTraffic(const RouteRecord& record, size_t layer, const Placement& placement);

}  // namespace switchyard::trainer
