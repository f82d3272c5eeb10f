#include "engine/runtime/task_validation.h"

#include <algorithm>
#include <string_view>

#include "engine/runtime/routing_policy.h"
#include "engine/runtime/sampler.h"

namespace switchyard {
namespace {

// Of all groups together; far above what a question has, and a bound on the memory one task can make the engine hold.
constexpr size_t kMaxScoreItems = 4096;

Status ValidateTokens(std::string_view what, const std::vector<TokenId>& tokens, const SnapshotInfo& info) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= info.vocab_size) {
      return InvalidArgument("%s: token %d has the id %d, expected 0 to %d", what, i, tokens[i], info.vocab_size - 1);
    }
  }
  return OkStatus();
}

Status ValidateLength(std::string_view what, int64_t tokens, const SnapshotInfo& info) {
  if (tokens <= info.max_positions) return OkStatus();
  return InvalidArgument("%s: %d tokens, the model takes at most %d", what, tokens, info.max_positions);
}

Status ValidateBlocks(int64_t blocks, const KvGeometry& geometry) {
  if (blocks <= geometry.num_blocks) return OkStatus();
  return InvalidArgument("the request needs %d KV blocks of %d tokens, the whole pool has %d", blocks, geometry.block_tokens,
                         geometry.num_blocks);
}

int64_t Blocks(int64_t rows, const KvGeometry& geometry) { return (rows + geometry.block_tokens - 1) / geometry.block_tokens; }

Status ValidateItem(const ScoreItem& item, const SnapshotInfo& info, size_t group, size_t index) {
  const std::string what = absl::StrFormat("item %d of group %d", index, group);
  if (item.tokens.size() < 2) return InvalidArgument("%s: %d tokens, expected a context and a continuation", what, item.tokens.size());
  RETURN_IF_ERROR(ValidateLength(what, static_cast<int64_t>(item.tokens.size()), info));
  if (item.score_from < 1 || item.score_from >= static_cast<int64_t>(item.tokens.size())) {
    return InvalidArgument("%s: scoring starts at token %d, expected 1 to %d", what, item.score_from, item.tokens.size() - 1);
  }
  return ValidateTokens(what, item.tokens, info);
}

}  // namespace

Status ValidateGenerate(const GenerateTask& task, const SnapshotInfo& info, const KvGeometry& geometry) {
  if (task.prompt.empty()) return InvalidArgument("prompt: no tokens, expected at least one");
  if (task.max_new_tokens < 1) return InvalidArgument("max_new_tokens is %d, expected at least 1", task.max_new_tokens);
  const int64_t tokens = static_cast<int64_t>(task.prompt.size()) + task.max_new_tokens;
  if (tokens > info.max_positions) {
    return InvalidArgument("prompt of %d tokens and %d new ones: %d tokens, the model takes at most %d", task.prompt.size(),
                           task.max_new_tokens, tokens, info.max_positions);
  }
  RETURN_IF_ERROR(ValidateTokens("prompt", task.prompt, info));
  RETURN_IF_ERROR(ValidateTokens("stop_tokens", task.stop_tokens, info));
  RETURN_IF_ERROR(ValidateSampling(task.sampling));
  if (task.top_logprobs < -1 || task.top_logprobs > info.vocab_size) {
    return InvalidArgument("top_logprobs is %d, expected -1 to %d", task.top_logprobs, info.vocab_size);
  }
  RETURN_IF_ERROR(ValidatePolicy(task.policy, info, tokens - 1));
  return ValidateBlocks(Blocks(tokens - 1, geometry), geometry);
}

Status ValidateRoute(const RouteTask& task, const SnapshotInfo& info, const KvGeometry& geometry) {
  if (task.tokens.empty()) return InvalidArgument("prompt: no tokens, expected at least one");
  const int64_t tokens = static_cast<int64_t>(task.tokens.size());
  RETURN_IF_ERROR(ValidateLength("prompt", tokens, info));
  RETURN_IF_ERROR(ValidateTokens("prompt", task.tokens, info));
  RETURN_IF_ERROR(ValidatePolicy(task.policy, info, tokens));
  return ValidateBlocks(Blocks(tokens, geometry), geometry);
}

StatusOr<ScoreLayout> ValidateScore(const ScoreTask& task, const SnapshotInfo& info, const KvGeometry& geometry) {
  if (task.groups.empty()) return InvalidArgument("nothing to score: no groups");
  size_t items = 0;
  for (const auto& group : task.groups) items += group.size();
  if (items > kMaxScoreItems) return InvalidArgument("%d items to score, expected at most %d", items, kMaxScoreItems);
  int64_t positions = 0;
  for (size_t g = 0; g < task.groups.size(); ++g) {
    if (task.groups[g].empty()) return InvalidArgument("nothing to score: group %d has no items", g);
    for (size_t i = 0; i < task.groups[g].size(); ++i) {
      RETURN_IF_ERROR(ValidateItem(task.groups[g][i], info, g, i));
      positions = std::max(positions, static_cast<int64_t>(task.groups[g][i].tokens.size()) - 1);
    }
  }
  RETURN_IF_ERROR(ValidatePolicy(task.policy, info, positions));
  ScoreLayout layout = LayOutScore(task);
  RETURN_IF_ERROR(ValidateBlocks(BlocksOfScore(layout, geometry).total(), geometry));
  return layout;
}

}  // namespace switchyard
