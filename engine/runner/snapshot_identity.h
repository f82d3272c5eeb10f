// The content hash of a snapshot.
#pragma once

#include <string>

#include "engine/routing/selection.h"
#include "engine/runtime/model_runner.h"

namespace switchyard {

// SHA-256, hex, over the generations of base, ordered experts and router, and the selection rule (null without router). Names are no part
// of it.
std::string SnapshotGeneration(const SnapshotInfo& info, const SelectionRule* rule);

}  // namespace switchyard
