// The figures of an evaluation, worked out by hand.
#include "client/eval_table.h"

#include <cmath>

#include "gtest/gtest.h"

namespace switchyard::client {
namespace {

// Answers of row `row` to set 0, a letter a question: r right, w wrong, - not answered.
void Add(size_t row, const char* marks, EvalAnswers* answers) {
  for (size_t q = 0; marks[q] != '\0'; ++q) {
    if (marks[q] == '-') continue;
    (*answers)[{row, 0, q}].verdict[kJudgeSum] = marks[q] == 'r';
  }
}

TEST(EvalTable, CellCountsOneRowOneSetAndOneJudge) {
  EvalAnswers answers;
  Add(0, "rrw-", &answers);
  Add(1, "wwww", &answers);
  answers[{0, 1, 0}].verdict[kJudgeSum] = true;
  const EvalCell cell = Cell(answers, 0, 0, kJudgeSum);
  EXPECT_EQ(cell.n, 3);
  EXPECT_EQ(cell.correct, 2);
  EXPECT_EQ(Cell(answers, 0, 0, kJudgeLetter).n, 0);
  EXPECT_FALSE(HalfWidth(Cell(answers, 0, 0, kJudgeLetter)).has_value());
}

TEST(EvalTable, HalfWidthIsWilsons) {
  // Of 5 in 10: Wilson's interval is 0.2366 to 0.7634.
  EXPECT_NEAR(*HalfWidth({10, 5}), 0.2634, 1e-4);
}

TEST(EvalTable, MeanWeighsSetsAlikeAndIsAbsentWhileOneIsEmpty) {
  const auto mean = Mean({{10, 5}, {1000, 1000}});
  ASSERT_TRUE(mean.has_value());
  EXPECT_DOUBLE_EQ(mean->accuracy, 0.75);
  EXPECT_NEAR(mean->half_width, 1.959964 * std::sqrt(0.025) / 2, 1e-6);
  EXPECT_FALSE(Mean({{10, 5}, {0, 0}}).has_value());
  EXPECT_FALSE(Mean({}).has_value());
}

TEST(EvalTable, PairsAreTheQuestionsBothAnswered) {
  EvalAnswers answers;
  Add(0, "rrrrrw-r", &answers);
  Add(1, "rwwwwrr-", &answers);
  const EvalPaired paired = Compare(answers, 0, 1, std::nullopt, kJudgeSum);
  EXPECT_EQ(paired.n, 6);
  EXPECT_EQ(paired.only_first, 4);
  EXPECT_EQ(paired.only_second, 1);
  EXPECT_DOUBLE_EQ(paired.difference, 0.5);
  // McNemar, exact: 2 (C(5,0) + C(5,1)) / 32.
  EXPECT_NEAR(paired.p, 0.375, 1e-9);
  EXPECT_NEAR(paired.half_width, 1.959964 * std::sqrt(5 - 9.0 / 6) / 6, 1e-6);
  EXPECT_EQ(Compare(answers, 0, 1, 1, kJudgeSum).n, 0);
}

}  // namespace
}  // namespace switchyard::client
