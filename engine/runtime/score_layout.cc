#include "engine/runtime/score_layout.h"

#include <algorithm>

namespace switchyard {
namespace {

// The branches of one task take at most this part of the pool, so that a big one leaves room for others.
constexpr int64_t kBranchPoolDivisor = 4;

int32_t RowsOf(const ScoreItem& item) { return static_cast<int32_t>(item.tokens.size()) - 1; }

int32_t CommonRows(const std::vector<ScoreItem>& items) {
  const ScoreItem& first = items.front();
  int32_t common = RowsOf(first);
  for (const ScoreItem& item : items) {
    common = std::min(common, RowsOf(item));
    const auto differ = std::mismatch(first.tokens.begin(), first.tokens.begin() + common, item.tokens.begin());
    common = static_cast<int32_t>(differ.first - first.tokens.begin());
  }
  return common;
}

ScoreGroupLayout LayOutGroup(const std::vector<ScoreItem>& items, bool share_context) {
  ScoreGroupLayout layout;
  layout.trunk_rows = share_context ? CommonRows(items) : 0;
  layout.first_asked_row = items.front().score_from - 1;
  for (const ScoreItem& item : items) {
    layout.first_asked_row = std::min(layout.first_asked_row, item.score_from - 1);
    layout.branch_rows.push_back(RowsOf(item) - layout.trunk_rows);
  }
  return layout;
}

int64_t Blocks(int64_t rows, const KvGeometry& geometry) { return (rows + geometry.block_tokens - 1) / geometry.block_tokens; }

}  // namespace

ScoreLayout LayOutScore(const ScoreTask& task) {
  ScoreLayout layout;
  for (const auto& items : task.groups) {
    const ScoreGroupLayout& group = layout.groups.emplace_back(LayOutGroup(items, task.share_context));
    layout.prompt_tokens += group.trunk_rows;
    for (const int32_t rows : group.branch_rows) layout.prompt_tokens += rows + 1;
  }
  return layout;
}

ScoreBlocks BlocksOfScore(const ScoreLayout& layout, const KvGeometry& geometry) {
  ScoreBlocks blocks;
  int64_t all_branches = 0;
  int64_t largest = 0;
  for (const ScoreGroupLayout& group : layout.groups) {
    blocks.trunks += Blocks(group.trunk_rows, geometry);
    for (const int32_t rows : group.branch_rows) {
      all_branches += Blocks(rows, geometry);
      largest = std::max(largest, Blocks(rows, geometry));
    }
  }
  const int64_t fair = std::min(geometry.num_blocks / kBranchPoolDivisor, geometry.num_blocks - blocks.trunks);
  blocks.branch_pool = std::min(all_branches, std::max(largest, fair));
  return blocks;
}

}  // namespace switchyard
