// One RouteRequest from text to reply.
#pragma once

#include <functional>
#include <memory>

#include "server/call_common.h"
#include "switchyard/v1/inference.pb.h"

namespace switchyard {

// Runs on a worker; calls `reply` once. Never blocks on the engine.
void RunRoute(const CallContext& context, const v1::RouteRequest& request, const CallTerms& terms,
              std::function<void(StatusOr<v1::RouteResponse>)> reply);

}  // namespace switchyard
