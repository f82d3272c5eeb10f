// Multiple-choice runs: what is asked, how answers are judged and counted.
#include "client/mcq_run.h"

#include <string>

#include "client/connection.h"
#include "client/mcq_report.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/client/client_testing.h"
#include "tests/client/fake_server.h"

namespace switchyard::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

McqQuestion Question(int i, int answer = 0) {
  McqQuestion question;
  question.id = "q" + std::to_string(i);
  question.question = "Question " + std::to_string(i) + "?";
  question.options = {"red", "green", "deep blue"};
  question.answer = answer;
  question.file = "f.jsonl";
  question.line = i + 1;
  return question;
}

TEST(McqRequests, TheLetterJudgeAsksForLettersAndTheTextJudgeForTexts) {
  v1::ScoreRequest common;
  common.mutable_routing()->set_forced_expert("law");
  const auto letter = LetterRequest(Question(0), PromptTemplates::Default(), common);
  EXPECT_EQ(letter.text(), "Question: Question 0?\nA. red\nB. green\nC. deep blue\nAnswer:");
  ASSERT_EQ(letter.continuations_size(), 3);
  EXPECT_EQ(letter.continuations(2).text(), " C");
  EXPECT_FALSE(letter.has_unconditional_text());
  EXPECT_EQ(letter.routing().forced_expert(), "law");
  const auto text = TextRequest(Question(0), PromptTemplates::Default(), common);
  EXPECT_EQ(text.text(), "Question: Question 0?\nAnswer:");
  EXPECT_EQ(text.continuations(2).text(), " deep blue");
  EXPECT_EQ(text.unconditional_text(), "Answer:");
}

TEST(McqTallyTest, EachJudgeCountsItsOwnChoice) {
  McqAnswer answer;
  answer.question = Question(0, 1);
  answer.letter.emplace().mutable_winners()->set_sum(1);
  v1::ScoreWinners* winners = answer.text.emplace().mutable_winners();
  winners->set_sum(0);
  winners->set_per_token(1);
  winners->set_per_byte(2);
  McqTally tally;
  tally.Add(answer);
  std::vector<int> n, correct;
  for (const JudgeTally& judge : tally.judges()) n.push_back(judge.n), correct.push_back(judge.correct);
  EXPECT_THAT(n, ElementsAre(1, 1, 1, 0, 1, 0));
  EXPECT_THAT(correct, ElementsAre(1, 0, 1, 0, 0, 0));
  EXPECT_DOUBLE_EQ(tally.chance(), 1.0 / 3);
}

class McqRunTest : public ::testing::Test {
 protected:
  StatusOr<McqOutcome> Run(FakeServer& server, const std::vector<McqQuestion>& questions) {
    Connection connection({server.address(), 60, 64});
    options_.retry = wait_.Policy(2);
    return RunMcq(
        questions, options_, [&](const v1::ScoreRequest& q, v1::ScoreResponse* r) { return connection.Score(q, r); }, terminal_.terminal,
        nullptr);
  }

  TempDir dir_;
  FakeWait wait_;
  StringTerminal terminal_;
  McqRunOptions options_;
};

// The option with the best log-probability by the fake server's own rule.
int Expected(const std::string& context, const std::vector<std::string>& continuations) {
  int best = 0;
  for (size_t i = 1; i < continuations.size(); ++i) {
    if (FakeServer::LogProb(context, continuations[i]) > FakeServer::LogProb(context, continuations[best])) best = static_cast<int>(i);
  }
  return best;
}

TEST_F(McqRunTest, AccuracyIsThatOfTheServersOwnScores) {
  std::vector<McqQuestion> questions;
  int letter_right = 0, sum_right = 0;
  for (int i = 0; i < 40; ++i) {
    questions.push_back(Question(i, i % 3));
    const std::string stem = "Question: Question " + std::to_string(i) + "?\n";
    letter_right += Expected(stem + "A. red\nB. green\nC. deep blue\nAnswer:", {" A", " B", " C"}) == i % 3;
    sum_right += Expected(stem + "Answer:", {" red", " green", " deep blue"}) == i % 3;
  }
  options_.output = dir_.File("figures.jsonl");
  FakeServer server;
  const auto outcome = Run(server, questions);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->tally.answered(), 40);
  EXPECT_EQ(outcome->tally.judges()[kJudgeLetter].correct, letter_right);
  EXPECT_EQ(outcome->tally.judges()[kJudgeSum].correct, sum_right);
  EXPECT_EQ(outcome->tally.judges()[kJudgePmi].n, 40);
  const auto lines = Lines(ReadFile(options_.output));
  ASSERT_EQ(lines.size(), 40u);
  const auto line = nlohmann::json::parse(lines[5]);
  EXPECT_EQ(line["id"], "q5");
  EXPECT_EQ(line["line"], 6);
  EXPECT_EQ(line["answer"], 2);
  EXPECT_EQ(line["text"].size(), 3u);
  EXPECT_EQ(line["text"][1]["logprob"], FakeServer::LogProb("Question: Question 5?\nAnswer:", " green"));
  EXPECT_TRUE(line["winners"].contains("text_pmi"));
  EXPECT_EQ(line["snapshot"], "5a11ab1e0000000000000000");
}

TEST_F(McqRunTest, AQuestionTheServerRefusesIsNamedAndLeftOutOfTheAccuracy) {
  FakeServer server({.score = [](const v1::ScoreRequest& request) {
    return request.id() == "q1" ? grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "too long") : grpc::Status::OK;
  }});
  options_.output = dir_.File("figures.jsonl");
  const auto outcome = Run(server, {Question(0), Question(1), Question(2)});
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome->tally.answered(), 2);
  EXPECT_THAT(outcome->tally.failures(), ElementsAre("q1 (f.jsonl:2): INVALID_ARGUMENT: too long"));
  EXPECT_THAT(Lines(ReadFile(options_.output)).at(1), HasSubstr(R"("error":{"code":3,"message":"too long"})"));
}

TEST_F(McqRunTest, AReplyThatDoesNotFitTheQuestionIsAFailure) {
  FakeServer server({.edit_score = [](v1::ScoreResponse* response) { response->mutable_winners()->set_sum(9); }});
  const auto outcome = Run(server, {Question(0)});
  ASSERT_TRUE(outcome.ok());
  ASSERT_EQ(outcome->tally.failures().size(), 1u);
  EXPECT_THAT(outcome->tally.failures()[0], HasSubstr("winner 9 of 3 options"));
}

TEST_F(McqRunTest, OnlyTheAskedJudgeRuns) {
  options_.judges = {.letter = false, .text = true};
  FakeServer server;
  const auto outcome = Run(server, {Question(0), Question(1)});
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(server.score_calls(), 2);
  EXPECT_EQ(outcome->tally.judges()[kJudgeLetter].n, 0);
  EXPECT_EQ(outcome->tally.judges()[kJudgeSum].n, 2);
}

TEST_F(McqRunTest, AServerThatGoesAwayStopsTheRun) {
  FakeServer server({.score = [](const v1::ScoreRequest&) { return grpc::Status(grpc::StatusCode::UNAVAILABLE, "draining"); }});
  const auto outcome = Run(server, {Question(0), Question(1)});
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome->stopped.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(outcome->tally.answered(), 0);
}

// A run of 100 questions of which the letter judge got 40 right.
McqOutcome FortyOfAHundred() {
  McqOutcome outcome;
  for (int i = 0; i < 100; ++i) {
    McqAnswer answer;
    answer.question = Question(i, i < 40 ? 0 : 1);
    answer.letter.emplace().mutable_winners()->set_sum(0);
    *answer.letter->mutable_generations() = FakeGenerations();
    outcome.tally.Add(answer);
  }
  outcome.questions_per_second = 12.5;
  outcome.seconds = 8;
  return outcome;
}

TEST(McqReportTest, GoldenTable) {
  McqSet set;
  set.questions.resize(100);
  for (size_t i = 0; i < set.questions.size(); ++i) set.questions[i].format = i < 60 ? McqFormat::kMedMcqa : McqFormat::kMmlu;
  set.bad.push_back({"f.jsonl", 7, "\"opd\" is missing"});
  EXPECT_EQ(McqReport(set, FortyOfAHundred(), Style(false)),
            "100 questions (medmcqa, mmlu) · 1 records skipped · 12.5 questions/s · chance 33.3 %\n"
            "judge     n  correct  accuracy  95 % interval\n"
            "──────  ───  ───────  ────────  ─────────────\n"
            "letter  100       40    40.0 %  30.9 - 49.8 %\n"
            "answered by generation 5a11ab1e0000\n"
            "Skipped:\n"
            "  f.jsonl:7: \"opd\" is missing\n");
}

TEST(McqReportTest, JsonHasTheSameFigures) {
  McqSet set;
  set.questions.resize(100);
  for (size_t i = 0; i < set.questions.size(); ++i) set.questions[i].format = i < 60 ? McqFormat::kMedMcqa : McqFormat::kMmlu;
  const auto json = nlohmann::json::parse(McqReportJson(set, FortyOfAHundred()));
  EXPECT_EQ(json["judges"].size(), 1u);
  EXPECT_EQ(json["judges"][0]["judge"], "letter");
  EXPECT_EQ(json["judges"][0]["correct"], 40);
  EXPECT_NEAR(json["judges"][0]["low"].get<double>(), 0.3094, 5e-4);  // Wilson, by hand
  EXPECT_NEAR(json["judges"][0]["high"].get<double>(), 0.4980, 5e-4);
}

}  // namespace
}  // namespace switchyard::client
