// Checks of a request's RoutingPolicy against the snapshot it will run on. RoutingPolicy itself lives in model_runner.h.
#pragma once

#include <cstdint>

#include "engine/base/status.h"
#include "engine/runtime/model_runner.h"

namespace switchyard {

// INVALID_ARGUMENT when `info` cannot serve the policy for positions 0 .. positions - 1: learned routing without a router, a forced expert
// or replayed expert that does not exist, a mixture or mask of the wrong size, weights that are negative, not finite or sum to more than 1,
// and recorded routes of the wrong shape or shorter than `positions`. Cost: O(size of the policy).
Status ValidatePolicy(const RoutingPolicy& policy, const SnapshotInfo& info, int64_t positions);

}  // namespace switchyard
