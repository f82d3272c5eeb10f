// What no state of the engine could serve is refused at submission, by these checks.
#pragma once

#include "engine/base/status.h"
#include "engine/runtime/model_runner.h"
#include "engine/runtime/score_layout.h"
#include "engine/runtime/tasks.h"

namespace switchyard {

// Thread-safe, like all functions here. Each is INVALID_ARGUMENT with what was expected and found. Cost: O(size of the task).
Status ValidateGenerate(const GenerateTask& task, const SnapshotInfo& info, const KvGeometry& geometry);
Status ValidateRoute(const RouteTask& task, const SnapshotInfo& info, const KvGeometry& geometry);
// Also gives the layout, which it needs for the block count.
StatusOr<ScoreLayout> ValidateScore(const ScoreTask& task, const SnapshotInfo& info, const KvGeometry& geometry);

}  // namespace switchyard
