// ScoreLayout: what part of a group of items is shared, what each item adds, and how many KV blocks that takes.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/runtime/tasks.h"

namespace switchyard {

// The log-probability of tokens[p + 1] comes from row p, so an item of n tokens needs rows 0 .. n - 2. The trunk is the longest common
// prefix of those rows; an item whose rows all lie in it adds none of its own.
struct ScoreGroupLayout {
  int32_t trunk_rows = 0;
  int32_t first_asked_row = 0;       // no row before it is asked for a log-probability
  std::vector<int32_t> branch_rows;  // per item: rows after the trunk
};

struct ScoreLayout {
  std::vector<ScoreGroupLayout> groups;
  int64_t prompt_tokens = 0;  // a shared context counted once
};

// REQUIRES: every group has items, and 1 <= score_from < tokens.size() in each. Without `share_context` trunks are empty.
ScoreLayout LayOutScore(const ScoreTask& task);

// All trunks stay until their group is done. Branches take turns when they do not all fit: the pool holds the largest of them at least.
struct ScoreBlocks {
  int64_t trunks = 0;
  int64_t branch_pool = 0;
  int64_t total() const { return trunks + branch_pool; }
};
ScoreBlocks BlocksOfScore(const ScoreLayout& layout, const KvGeometry& geometry);

}  // namespace switchyard
