#include "trainer/compare/judge.h"

#include <gtest/gtest.h>

#include <vector>

namespace switchyard::trainer {
namespace {

TEST(CompareJudge, EachChoosesByItsOwnFigure) {
  // Long and likely, short, and one the question makes far more likely than it is by itself.
  const std::vector<OptionFigures> options = {{.sum = -6, .tokens = 6, .characters = 12, .bytes = 24, .prior = -5.0, .letter = -3.0},
                                              {.sum = -3, .tokens = 1, .characters = 4, .bytes = 4, .prior = -2.0, .letter = -1.0},
                                              {.sum = -4, .tokens = 2, .characters = 10, .bytes = 10, .prior = -9.0, .letter = -2.0}};
  EXPECT_EQ(Winner(kJudgeSum, options), 1);
  EXPECT_EQ(Winner(kJudgeToken, options), 0);
  EXPECT_EQ(Winner(kJudgeCharacter, options), 2);
  EXPECT_EQ(Winner(kJudgeByte, options), 0);
  EXPECT_EQ(Winner(kJudgePmi, options), 2);
  EXPECT_EQ(Winner(kJudgeLetter, options), 1);
}

TEST(CompareJudge, TheFirstOfEqualOptionsWins) {
  const std::vector<OptionFigures> options = {{.sum = -2}, {.sum = -1}, {.sum = -1}};
  EXPECT_EQ(Winner(kJudgeSum, options), 1);
}

TEST(CompareJudge, UndefinedIsAbsent) {
  const std::vector<OptionFigures> options = {{.sum = -2, .tokens = 1, .characters = 3, .bytes = 3}, {.sum = -1, .tokens = 1}};
  EXPECT_FALSE(Winner(kJudgeCharacter, options).has_value());
  EXPECT_FALSE(Winner(kJudgePmi, options).has_value());
  EXPECT_FALSE(Winner(kJudgeLetter, options).has_value());
  EXPECT_FALSE(Winner(kJudgeSum, {}).has_value());
}

TEST(CompareJudge, NamesAreRead) {
  for (int judge = 0; judge < kJudgeCount; ++judge) EXPECT_EQ(*ParseJudge(kJudgeNames[judge]), judge);
  EXPECT_EQ(ParseJudge("text").status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace switchyard::trainer
