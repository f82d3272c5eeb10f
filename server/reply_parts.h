// The parts every reply has: usage, timings, generations, routes.
#pragma once

#include "engine/runtime/tasks.h"
#include "engine/text/tokenizer.h"
#include "switchyard/v1/inference.pb.h"

namespace switchyard {

void FillUsage(const TaskUsage& usage, v1::Usage* out);
void FillTimings(const TaskUsage& usage, v1::Timings* out);
void FillGenerations(const SnapshotInfo& info, v1::Generations* out);

// `level` already resolved (not UNSPECIFIED). `tokens` are the trace's rows, for LEVEL_TOKEN; their texts come from `tokenizer`.
void FillRoutes(const RouteSummary& summary, const SnapshotInfo& info, v1::RouteLevel level, const std::vector<TokenId>& tokens,
                const Tokenizer& tokenizer, v1::Routes* out);

}  // namespace switchyard
