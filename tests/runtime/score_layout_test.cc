#include "engine/runtime/score_layout.h"

#include <gtest/gtest.h>

#include "tests/runtime/engine_fixture.h"

namespace switchyard {
namespace {

constexpr KvGeometry kGeometry{.block_tokens = 4, .num_blocks = 32, .bytes_per_token = 1};

TEST(RuntimeScoreLayout, OneTokenContinuationsLieInTheTrunk) {
  const ScoreLayout layout = LayOutScore(ScoreOf(Tokens(10), {{3}, {4}}));
  EXPECT_EQ(layout.groups[0].trunk_rows, 10);
  EXPECT_EQ(layout.groups[0].first_asked_row, 9);
  EXPECT_EQ(layout.groups[0].branch_rows, (std::vector<int32_t>{0, 0}));
  EXPECT_EQ(layout.prompt_tokens, 12);
}

TEST(RuntimeScoreLayout, TheTrunkEndsWhereRowsDiffer) {
  const ScoreLayout layout = LayOutScore(ScoreOf(Tokens(10), {{3, 4, 5, 6}, {3, 4, 7}, {3, 4, 5}}));
  EXPECT_EQ(layout.groups[0].trunk_rows, 12);  // {.., 3, 4} is common; the last token of an item needs no row
  EXPECT_EQ(layout.groups[0].branch_rows, (std::vector<int32_t>{1, 0, 0}));
}

TEST(RuntimeScoreLayout, AShortItemBoundsTheTrunk) {
  const ScoreLayout layout = LayOutScore(ScoreOf(Tokens(10), {{3, 4, 5}, {3}}));
  EXPECT_EQ(layout.groups[0].trunk_rows, 10);
  EXPECT_EQ(layout.groups[0].branch_rows, (std::vector<int32_t>{2, 0}));
}

TEST(RuntimeScoreLayout, DifferentContextsShareNothing) {
  ScoreTask task;
  task.groups.push_back({{.tokens = {5, 6, 7}, .score_from = 1}, {.tokens = {6, 6, 7}, .score_from = 2}});
  const ScoreLayout layout = LayOutScore(task);
  EXPECT_EQ(layout.groups[0].trunk_rows, 0);
  EXPECT_EQ(layout.groups[0].branch_rows, (std::vector<int32_t>{2, 2}));
  EXPECT_EQ(layout.groups[0].first_asked_row, 0);
}

TEST(RuntimeScoreLayout, NotSharingMakesEverythingBranches) {
  ScoreTask task = ScoreOf(Tokens(10), {{3}, {4, 5}});
  task.share_context = false;
  const ScoreLayout layout = LayOutScore(task);
  EXPECT_EQ(layout.groups[0].trunk_rows, 0);
  EXPECT_EQ(layout.groups[0].branch_rows, (std::vector<int32_t>{10, 11}));
}

TEST(RuntimeScoreLayout, BranchesTakeAtMostTheirPartOfThePoolButTheLargestFits) {
  std::vector<std::vector<TokenId>> many(100, Tokens(6));
  for (size_t i = 0; i < many.size(); ++i) many[i][0] = static_cast<TokenId>(i % 50 + 2);
  const ScoreBlocks shared = BlocksOfScore(LayOutScore(ScoreOf(Tokens(16), many)), kGeometry);
  EXPECT_EQ(shared.trunks, 4);
  EXPECT_EQ(shared.branch_pool, 8);  // a quarter of 32, not 200
  const ScoreBlocks large = BlocksOfScore(LayOutScore(ScoreOf(Tokens(16), {Tokens(61, 1), Tokens(61, 2)})), kGeometry);
  EXPECT_EQ(large.branch_pool, 15);  // 60 rows
  const ScoreBlocks few = BlocksOfScore(LayOutScore(ScoreOf(Tokens(16), {Tokens(5, 1), Tokens(5, 2)})), kGeometry);
  EXPECT_EQ(few.branch_pool, 2);
}

}  // namespace
}  // namespace switchyard
