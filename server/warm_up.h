// The last test before a serving set is published: each new snapshot runs once on the engine, beside what serves.
#pragma once

#include "engine/base/status.h"
#include "engine/runtime/engine.h"

namespace switchyard {

// A few tokens through the router of every snapshot that is not served yet, and through each expert that no served snapshot has: their
// memory is touched before a request waits for it, and numbers that do not work (not finite) are found. Blocks the caller, never the
// engine. INTERNAL naming snapshot and expert. A server too busy to try (or stopping) is no reason against the set: OK, and a line in the
// log.
Status WarmUp(Engine& engine, const ServingSet& next);

}  // namespace switchyard
