// A request's Routing and pins against the snapshot that would answer it.
#pragma once

#include "engine/base/status.h"
#include "engine/runtime/model_runner.h"
#include "switchyard/v1/inference.pb.h"

namespace switchyard {

// NOT_FOUND names an unknown expert and lists the known ones; INVALID_ARGUMENT for bad weights or replayed routes of the wrong shape.
StatusOr<RoutingPolicy> PolicyOf(const v1::Routing& routing, const SnapshotInfo& info);

// INVALID_ARGUMENT for a number the proto does not know.
Status CheckLevel(v1::RouteLevel level, const char* field);

// FAILED_PRECONDITION names the pinned and the served generation.
Status CheckPins(const v1::PinnedGenerations& pinned, const SnapshotInfo& info);

}  // namespace switchyard
