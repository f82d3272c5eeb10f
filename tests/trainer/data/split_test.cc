// Training and validation out of one source; limits.
#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/trainer/data/data_testing.h"

namespace switchyard::trainer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::set<std::string> Prompts(const Dataset& dataset) {
  std::set<std::string> prompts;
  for (const Example& example : dataset.examples) prompts.insert(PromptText(example));
  return prompts;
}

TEST(LimitTest, TheFirstRecordsOrASeededSampleInTheFilesOrder) {
  TempDir dir;
  DataOptions options = OneSource(dir.Write("q.jsonl", QuestionLines(30)));
  const auto all = LoadDataset(options, *SmallTokenizer());
  ASSERT_TRUE(all.ok()) << all.status();
  options.max_records = 5;
  const auto first = LoadDataset(options, *SmallTokenizer());
  ASSERT_EQ(first->examples.size(), 5u);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(first->examples[i].tokens, all->examples[i].tokens);
  options.sample_records = true;
  const auto sample = LoadDataset(options, *SmallTokenizer());
  ASSERT_EQ(sample->examples.size(), 5u);
  EXPECT_NE(sample->fingerprint, first->fingerprint);
  EXPECT_EQ(LoadDataset(options, *SmallTokenizer())->fingerprint, sample->fingerprint);
  auto at = all->examples.begin();
  for (const Example& example : sample->examples) {
    at = std::find_if(at, all->examples.end(), [&](const Example& e) { return e.tokens == example.tokens; });
    ASSERT_NE(at, all->examples.end()) << "out of order";
  }
}

TEST(TrainAndValidTest, PartsAreDisjointAndWhole) {
  TempDir dir;
  const DataOptions options = OneSource(dir.Write("q.jsonl", QuestionLines(40)), Target::kBoth);
  const auto parts = LoadTrainAndValid(options, 0.25, *SmallTokenizer());
  ASSERT_TRUE(parts.ok()) << parts.status();
  EXPECT_EQ(parts->valid.examples.size(), 20u);  // 10 questions, two examples each
  EXPECT_EQ(parts->train.examples.size(), 60u);
  const auto train = Prompts(parts->train), valid = Prompts(parts->valid);
  std::vector<std::string> both;
  std::set_intersection(train.begin(), train.end(), valid.begin(), valid.end(), std::back_inserter(both));
  EXPECT_THAT(both, ElementsAre());
  EXPECT_EQ(parts->train.domains, parts->valid.domains);
}

TEST(TrainAndValidTest, WhatIsHeldOutDoesNotDependOnTheOrderOfTheFile) {
  TempDir dir;
  std::string backwards;
  for (int i = 39; i >= 0; --i) backwards += QuestionLine(i);
  const auto forth = LoadTrainAndValid(OneSource(dir.Write("f.jsonl", QuestionLines(40))), 0.2, *SmallTokenizer());
  const auto back = LoadTrainAndValid(OneSource(dir.Write("b.jsonl", backwards)), 0.2, *SmallTokenizer());
  ASSERT_TRUE(forth.ok() && back.ok());
  EXPECT_EQ(Prompts(forth->valid), Prompts(back->valid));
  DataOptions other = OneSource(dir.File("f.jsonl"));
  other.seed = 2;
  EXPECT_NE(Prompts(LoadTrainAndValid(other, 0.2, *SmallTokenizer())->valid), Prompts(forth->valid));
}

TEST(TrainAndValidTest, EqualPromptsStayTogether) {
  TempDir dir;
  std::string lines;
  for (int i = 0; i < 10; ++i) {
    for (const char* answer : {" yes", " no", " perhaps"}) {
      lines += R"({"prompt":"Is it )" + std::to_string(i) + R"(?","answer":")" + answer + "\"}\n";
    }
  }
  DataOptions options = OneSource(dir.Write("p.jsonl", lines));
  options.append_eos = false;
  const auto parts = LoadTrainAndValid(options, 0.1, *SmallTokenizer());
  ASSERT_TRUE(parts.ok()) << parts.status();
  EXPECT_EQ(parts->valid.examples.size(), 3u);
  EXPECT_EQ(Prompts(parts->valid).size(), 1u);
}

TEST(TrainAndValidTest, RefusesWhatCannotBeSplit) {
  TempDir dir;
  const DataOptions options = OneSource(dir.Write("q.jsonl", QuestionLines(1)));
  EXPECT_THAT(std::string(Message(LoadTrainAndValid(options, 0.1, *SmallTokenizer()).status())), HasSubstr("one prompt cannot be split"));
  for (const double fraction : {0.0, 1.0, -1.0, std::nan("")}) EXPECT_FALSE(LoadTrainAndValid(options, fraction, *SmallTokenizer()).ok());
}

}  // namespace
}  // namespace switchyard::trainer
