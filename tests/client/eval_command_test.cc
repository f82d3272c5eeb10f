// `switchyard eval` from its arguments to its tables and files, against servers in this process.
#include <algorithm>
#include <atomic>
#include <sstream>
#include <string>
#include <vector>

#include "client/command_line.h"
#include "client/eval_plan.h"
#include "client/mcq_judge.h"
#include "engine/mcq/generated_answer.h"
#include "engine/stats/interval.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/client/client_testing.h"
#include "tests/client/fake_server.h"

namespace switchyard::client {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

constexpr int kQuestions = 12;

// Questions whose right option is the one that the fake server's figures choose by their sum, but for the first `wrong`.
std::string Questions(const std::string& topic, int wrong) {
  const PromptTemplates templates = PromptTemplates::Default();
  std::string text;
  for (int i = 0; i < kQuestions; ++i) {
    McqQuestion question;
    question.question = "What of " + topic + " " + std::to_string(i) + "?";
    question.options = {"one", "two", "three"};
    const v1::ScoreRequest request = TextRequest(question, templates, {});
    int best = 0;
    for (int o = 1; o < request.continuations_size(); ++o) {
      const auto figure = [&](int option) { return FakeServer::LogProb(request.text(), request.continuations(option).text()); };
      if (figure(o) > figure(best)) best = o;
    }
    const int answer = i < wrong ? (best + 1) % 3 : best;
    text +=
        Json{{"id", topic + std::to_string(i)}, {"question", question.question}, {"options", question.options}, {"answer", answer}}.dump() +
        "\n";
  }
  return text;
}

class EvalCommandTest : public ::testing::Test {
 protected:
  void SetUp() override {
    law_ = dir_.Write("law.jsonl", Questions("law", 3));
    sea_ = dir_.Write("sea.jsonl", Questions("sea", 6));
  }
  // With both sets; unless told otherwise one question at a time, so that the order of calls is known, and no second try.
  ExitCode Eval(const std::string& servers, std::vector<std::string> more) {
    std::vector<std::string> arguments = {"eval", "--server", servers, "--set", "law=" + law_, "--set", "sea=" + sea_};
    for (const auto& [flag, value] : {std::pair("--concurrency", "1"), std::pair("--retries", "0")}) {
      if (std::find(more.begin(), more.end(), flag) != more.end()) continue;
      arguments.emplace_back(flag);
      arguments.emplace_back(value);
    }
    arguments.insert(arguments.end(), more.begin(), more.end());
    std::istringstream in;
    terminal_.out.str("");
    terminal_.err.str("");
    CommandEnvironment environment{in, terminal_.terminal, wait_.Policy(0)};
    return RunCommandLine(std::move(arguments), environment);
  }
  std::string out() const { return terminal_.out.str(); }
  std::string err() const { return terminal_.err.str(); }

  TempDir dir_;
  FakeWait wait_;
  StringTerminal terminal_;
  std::string law_, sea_;
};

Json Row(const Json& report, const std::string& judge, const std::string& label) {
  for (const Json& table : report["judges"]) {
    if (table["judge"] != judge) continue;
    for (const Json& row : table["rows"]) {
      if (row["row"] == label) return row;
    }
  }
  return {};
}

TEST_F(EvalCommandTest, TablesHaveWhatWasAnsweredWithWilsonIntervalsOnScreenInMarkdownAndJson) {
  FakeServer server;
  const std::string json_file = dir_.File("t.json"), markdown_file = dir_.File("t.md");
  ASSERT_EQ(Eval(server.address(),
                 {"--row", "a|b=base", "--judge", "sum", "--judge", "letter", "--json", json_file, "--markdown", markdown_file}),
            kExitOk)
      << err();
  const Json report = Json::parse(ReadFile(json_file));
  EXPECT_TRUE(report["complete"]);
  EXPECT_EQ(report["asked"], 2 * kQuestions);
  const Json row = Row(report, "sum", "a|b");
  EXPECT_EQ(row["sets"]["law"]["correct"], 9);
  EXPECT_EQ(row["sets"]["sea"]["correct"], 6);
  EXPECT_EQ(row["sets"]["law"]["n"], kQuestions);
  const auto interval = WilsonInterval95(9, kQuestions);
  EXPECT_DOUBLE_EQ(row["sets"]["law"]["low"], interval->low);
  EXPECT_DOUBLE_EQ(row["sets"]["law"]["high"], interval->high);
  EXPECT_DOUBLE_EQ(row["average"]["accuracy"], 0.625);
  // Judges without a question to answer are not in the report; the letter judge is, after the headline.
  ASSERT_EQ(report["judges"].size(), 2u);
  EXPECT_EQ(report["judges"][1]["judge"], "letter");
  EXPECT_EQ(Row(report, "letter", "a|b")["sets"]["law"]["n"], kQuestions);
  const std::string markdown = ReadFile(markdown_file);
  EXPECT_THAT(markdown, HasSubstr("| model | law | sea | average |\n| --- | ---: | ---: | ---: |\n| a\\|b | 75.0 ±"));
  EXPECT_THAT(out(), HasSubstr("75.0 ±"));
  EXPECT_THAT(out(), HasSubstr("50.0 ±"));
  EXPECT_THAT(out(), HasSubstr("62.5 ±"));
  EXPECT_THAT(out(), HasSubstr("answered by fake-base, generation 5a11ab1e0000"));
}

TEST_F(EvalCommandTest, BriefShowsTheFirstJudgeWholeAndAveragesOfTheOthersWhileFilesHaveAll) {
  FakeServer server;
  const std::string markdown_file = dir_.File("t.md");
  ASSERT_EQ(Eval(server.address(),
                 {"--row", "x=base", "--judge", "letter", "--judge", "sum", "--judge", "byte", "--brief", "--markdown", markdown_file}),
            kExitOk)
      << err();
  const size_t averages = out().find("The average by the other judges");
  ASSERT_NE(averages, std::string::npos) << out();
  const std::string first = out().substr(0, averages), others = out().substr(averages);
  EXPECT_THAT(first, HasSubstr("75.0 ±"));  // the headline's column law
  EXPECT_THAT(others, HasSubstr(std::string(kEvalJudgeNames[kJudgeLetter].label)));
  EXPECT_THAT(others, Not(HasSubstr("law")));
  EXPECT_THAT(others, Not(HasSubstr(std::string(kEvalJudgeNames[kJudgeSum].label))));
  const std::string markdown = ReadFile(markdown_file);
  size_t tables = 0;
  for (size_t at = 0; (at = markdown.find("| model | law | sea | average |", at)) != std::string::npos; ++at) ++tables;
  EXPECT_EQ(tables, 3u);
}

TEST_F(EvalCommandTest, GeneratedAnswersAreJudgedByBothRules) {
  FakeServer server;
  const std::string json_file = dir_.File("t.json");
  ASSERT_EQ(Eval(server.address(), {"--row", "x=base", "--judge", "generated", "--headline", "generated-letter", "--json", json_file}),
            kExitOk)
      << err();
  EXPECT_EQ(server.score_calls(), 0);
  EXPECT_EQ(server.last_generate().max_tokens(), 20);
  EXPECT_EQ(server.last_generate().sampling().temperature(), 0);
  EXPECT_FALSE(server.last_generate().add_special_tokens()) << "the prompt has a BOS of its own";
  const Json report = Json::parse(ReadFile(json_file));
  int total = 0;  // by Dense2MoE's rule or the text
  for (const auto& [name, rule] :
       {std::pair("generated-letter", GeneratedJudge::kLetter), std::pair("generated-dense2moe", GeneratedJudge::kDense2Moe)}) {
    // The fake answer repeats the prompt, which ends with "Answer:", so the two rules differ; each is applied to what was sent.
    int wanted = 0;
    const auto set = ReadMcqFiles({law_}, McqFormat::kJsonl);
    ASSERT_TRUE(set.ok());
    for (const McqQuestion& question : set->questions) {
      std::string prompt = server.last_generate().text();  // of the last question of the other set
      const size_t at = prompt.find("What of sea 11?");
      ASSERT_NE(at, std::string::npos);
      prompt.replace(at, 15, question.question);
      const GeneratedVerdict verdict = JudgeGenerated(question, FakeServer::Answer(prompt), rule);
      wanted += verdict.correct ? 1 : 0;
      if (rule == GeneratedJudge::kDense2Moe) total += verdict.correct || verdict.text_fallback ? 1 : 0;
    }
    EXPECT_EQ(Row(report, name, "x")["sets"]["law"]["correct"], wanted) << name;
    EXPECT_EQ(Row(report, name, "x")["sets"]["law"]["n"], kQuestions) << name;
  }
  EXPECT_EQ(Row(report, "generated-dense2moe-text", "x")["sets"]["law"]["correct"], total);
}

TEST_F(EvalCommandTest, StandardRowsAreBaseOracleExpertsAndLearnedWithTheirRouting) {
  std::vector<std::string> forced;
  FakeServer server({.score = [&](const v1::ScoreRequest& request) {
    forced.push_back(request.routing().has_base_only()       ? "base"
                     : request.routing().has_forced_expert() ? request.routing().forced_expert()
                                                             : "learned");
    EXPECT_EQ(request.pinned().snapshot(), FakeGenerations().snapshot());
    return grpc::Status::OK;
  }});
  const std::string json_file = dir_.File("t.json");
  ASSERT_EQ(Eval(server.address(), {"--rows", "standard", "--limit", "1", "--json", json_file}), kExitOk) << err();
  // Row by row, law before sea; the oracle has no expert for the sea.
  EXPECT_THAT(forced, ElementsAre("base", "base", "law", "base", "law", "law", "medicine", "medicine", "learned", "learned"));
  std::vector<std::string> labels;
  const Json report = Json::parse(ReadFile(json_file));
  for (const Json& row : report["rows"]) labels.push_back(row["label"]);
  EXPECT_THAT(labels, ElementsAre("base", "oracle", "law", "medicine", "learned"));
}

TEST_F(EvalCommandTest, QuestionsAreSharedOutOverTheServersOfARow) {
  FakeServer first, second, third;
  ASSERT_EQ(
      Eval(first.address() + "," + second.address(), {"--row", "x=base", "--row", "y=learned@" + third.address(), "--concurrency", "4"}),
      kExitOk)
      << err();
  EXPECT_EQ(first.score_calls(), kQuestions);
  EXPECT_EQ(second.score_calls(), kQuestions);
  EXPECT_EQ(third.score_calls(), 2 * kQuestions);
  EXPECT_TRUE(third.last_score().routing().has_learned());
}

TEST_F(EvalCommandTest, AnInterruptedRunGoesOnAndAsksOnlyWhatIsMissing) {
  const std::string state = dir_.File("state.jsonl"), first_json = dir_.File("1.json"), second_json = dir_.File("2.json");
  std::atomic<int> calls{0};
  FakeServer dying({.score = [&](const v1::ScoreRequest&) {
    return ++calls > 15 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "going down") : grpc::Status::OK;
  }});
  EXPECT_EQ(Eval(dying.address(), {"--row", "x=base", "--state", state, "--json", first_json}), kExitUnreachable);
  EXPECT_THAT(out(), HasSubstr("(not finished)"));
  const Json half = Json::parse(ReadFile(first_json));
  EXPECT_FALSE(half["complete"]);
  EXPECT_EQ(Row(half, "sum", "x")["sets"]["law"]["n"], kQuestions);
  EXPECT_EQ(Row(half, "sum", "x")["sets"]["sea"]["n"], 3);
  EXPECT_EQ(Lines(ReadFile(state)).size(), 1u + 15);

  FakeServer server;
  ASSERT_EQ(Eval(server.address(), {"--row", "x=base", "--state", state, "--json", second_json}), kExitOk) << err();
  EXPECT_EQ(server.score_calls(), 2 * kQuestions - 15);
  EXPECT_EQ(Row(Json::parse(ReadFile(second_json)), "sum", "x")["sets"]["sea"]["correct"], 6);
  // A torn last line is asked again.
  std::string text = ReadFile(state);
  text.resize(text.size() - 10);
  dir_.Write("state.jsonl", text);
  ASSERT_EQ(Eval(server.address(), {"--row", "x=base", "--state", state}), kExitOk) << err();
  EXPECT_EQ(server.score_calls(), 2 * kQuestions - 15 + 1);
  EXPECT_THAT(Lines(ReadFile(state)), Each(Not(::testing::IsEmpty())));

  // Another evaluation's state is refused, and left as it is.
  text = ReadFile(state);
  EXPECT_EQ(Eval(server.address(), {"--row", "x=learned", "--state", state}), kExitUsage);
  EXPECT_THAT(err(), HasSubstr(state));
  EXPECT_EQ(ReadFile(state), text);
}

TEST_F(EvalCommandTest, WhenOneServerOfSeveralDiesTheAnswersSoFarAreKept) {
  const std::string state = dir_.File("state.jsonl");
  std::atomic<int> calls{0};
  FakeServer healthy;
  FakeServer dying({.score = [&](const v1::ScoreRequest&) {
    return ++calls > 5 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "going down") : grpc::Status::OK;
  }});
  EXPECT_EQ(Eval(healthy.address() + "," + dying.address(), {"--row", "x=base", "--state", state}), kExitUnreachable);
  const size_t kept = Lines(ReadFile(state)).size() - 1;
  EXPECT_EQ(kept, 11u);  // turn by turn: six by the one, five by the other
  FakeServer other;
  ASSERT_EQ(Eval(other.address(), {"--row", "x=base", "--state", state}), kExitOk) << err();
  EXPECT_EQ(other.score_calls(), static_cast<int>(2 * kQuestions - kept));
}

TEST_F(EvalCommandTest, ARetriedQuestionGoesToTheNextServer) {
  FakeServer healthy;
  FakeServer dead({.score = [](const v1::ScoreRequest&) { return grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone"); }});
  ASSERT_EQ(Eval(healthy.address() + "," + dead.address(), {"--row", "x=base", "--retries", "1"}), kExitOk) << err();
  EXPECT_EQ(healthy.score_calls(), 2 * kQuestions);
  EXPECT_FALSE(wait_.waits().empty());
}

TEST_F(EvalCommandTest, QuestionsThatFailAreNamedAndTheOthersCounted) {
  FakeServer server({.score = [](const v1::ScoreRequest& request) {
    if (request.id() == "law1") return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "too long");
    return grpc::Status::OK;
  }});
  const std::string json_file = dir_.File("t.json");
  EXPECT_EQ(Eval(server.address(), {"--row", "x=base", "--json", json_file}), kExitSomeFailed);
  EXPECT_THAT(err(), HasSubstr("law1"));
  EXPECT_THAT(err(), HasSubstr("too long"));
  const Json report = Json::parse(ReadFile(json_file));
  EXPECT_FALSE(report["complete"]);
  EXPECT_EQ(report["failed"].size(), 1u);
  EXPECT_EQ(Row(report, "sum", "x")["sets"]["law"]["n"], kQuestions - 1);
}

TEST_F(EvalCommandTest, AnUnknownExpertIsRefusedBeforeAnythingIsAsked) {
  FakeServer server;
  EXPECT_EQ(Eval(server.address(), {"--row", "ok=base", "--row", "x=expert=nobody"}), kExitUsage);
  EXPECT_THAT(err(), HasSubstr("nobody"));
  EXPECT_THAT(err(), HasSubstr("law, medicine"));
  EXPECT_EQ(server.score_calls(), 0);
}

TEST_F(EvalCommandTest, PairedDifferenceOfRowsThatAnswerAlikeIsNothing) {
  FakeServer server;
  ASSERT_EQ(Eval(server.address(), {"--row", "x=base", "--row", "y=learned", "--compare", "x,y"}), kExitOk) << err();
  EXPECT_THAT(out(), HasSubstr("x - y, all questions: +0.0 ±0.0 points (24 questions, right alone 0 : 0, McNemar p = 1)"));
}

TEST_F(EvalCommandTest, WrongArgumentsSayWhatIsExpected) {
  FakeServer server;
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{}, "--rows standard or --row"},
      {{"--row", "base"}, "LABEL=ROUTING"},
      {{"--row", "x=base", "--row", "x=learned"}, "two rows are called x"},
      {{"--row", "x=base", "--judge", "taste"}, "taste"},
      {{"--row", "x=base", "--headline", "letter"}, "--headline"},
      {{"--row", "x=base", "--compare", "x,z"}, "no row z"},
      {{"--row", "x=base", "--set", "law=" + sea_}, "named twice"},
      {{"--row", "x=base@,"}, "empty part"},
  };
  for (const auto& [arguments, wanted] : cases) {
    EXPECT_EQ(Eval(server.address(), arguments), kExitUsage) << wanted;
    EXPECT_THAT(err(), HasSubstr(wanted));
  }
  EXPECT_EQ(server.score_calls(), 0);
}

}  // namespace
}  // namespace switchyard::client
