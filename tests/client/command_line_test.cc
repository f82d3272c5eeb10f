// Whole commands, from their arguments to what they print, against a server in this process.
#include "client/command_line.h"

#include <sstream>
#include <string>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/client/client_testing.h"
#include "tests/client/fake_server.h"

namespace switchyard::client {
namespace {

using ::testing::HasSubstr;

class CommandLineTest : public ::testing::Test {
 protected:
  ExitCode Run(std::vector<std::string> arguments, const std::string& input = "") {
    std::istringstream in(input);
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
};

// Tells when a piece of text has been written.
class WatchedBuffer : public std::stringbuf {
 public:
  WatchedBuffer(std::string text, absl::Notification* seen) : text_(std::move(text)), seen_(seen) {}
  int sync() override {
    if (!seen_->HasBeenNotified() && str().find(text_) != std::string::npos) seen_->Notify();
    return 0;
  }

 private:
  const std::string text_;
  absl::Notification* const seen_;
};

TEST_F(CommandLineTest, GenerateShowsEachPieceBeforeTheNextIsMade) {
  absl::Notification first_shown;
  // The server makes no second piece until the first is on the screen: without streaming this would never end.
  FakeServer server({.piece = [&](int index) {
    if (index == 0) first_shown.WaitForNotification();
    return grpc::Status::OK;
  }});
  WatchedBuffer buffer("Answer to ", &first_shown);
  std::ostream out(&buffer);
  Terminal terminal{out, terminal_.err};
  std::istringstream in;
  CommandEnvironment environment{in, terminal, {}};
  EXPECT_EQ(RunCommandLine({"generate", "--server", server.address(), "hello"}, environment), kExitOk);
  EXPECT_EQ(buffer.str(), FakeServer::Answer("hello"));
  EXPECT_EQ(err(), "4 tokens · 12.5 tok/s · end of text · 9 prompt tokens · generation 5a11ab1e0000 · seed 7\n");
}

TEST_F(CommandLineTest, GenerateSendsWhatTheOptionsSay) {
  FakeServer server;
  EXPECT_EQ(Run({"generate",
                 "--server",
                 server.address(),
                 "--chat",
                 "--system",
                 "Be brief.",
                 "--max-tokens",
                 "5",
                 "--temperature",
                 "0.5",
                 "--top-k",
                 "3",
                 "--top-p",
                 "0.9",
                 "--min-p",
                 "0.1",
                 "--repetition-penalty",
                 "1.5",
                 "--seed",
                 "11",
                 "--stop",
                 "X",
                 "--stop",
                 "Y",
                 "--logprobs",
                 "2",
                 "--routes",
                 "layer",
                 "--routing",
                 "mask=law",
                 "--pin",
                 "abc",
                 "--ignore-eos",
                 "--truncate",
                 "hi"}),
            kExitOk);
  const v1::GenerateRequest sent = server.last_generate();
  ASSERT_EQ(sent.chat().messages_size(), 2);
  EXPECT_EQ(sent.chat().messages(0).role(), "system");
  EXPECT_EQ(sent.chat().messages(1).content(), "hi");
  EXPECT_EQ(sent.max_tokens(), 5);
  EXPECT_FLOAT_EQ(sent.sampling().temperature(), 0.5f);
  EXPECT_EQ(sent.sampling().top_k(), 3);
  EXPECT_FLOAT_EQ(sent.sampling().top_p(), 0.9f);
  EXPECT_FLOAT_EQ(sent.sampling().min_p(), 0.1f);
  EXPECT_FLOAT_EQ(sent.sampling().repetition_penalty(), 1.5f);
  EXPECT_EQ(sent.sampling().seed(), 11u);
  EXPECT_THAT(sent.stop(), ::testing::ElementsAre("X", "Y"));
  EXPECT_EQ(sent.logprobs(), 2);
  EXPECT_EQ(sent.routes(), v1::ROUTE_LEVEL_LAYER);
  EXPECT_EQ(sent.routing().learned().masked_experts(0), "law");
  EXPECT_EQ(sent.pinned().snapshot(), "abc");
  EXPECT_TRUE(sent.ignore_eos());
  EXPECT_TRUE(sent.truncate_prompt());
  EXPECT_THAT(out(), HasSubstr("log-prob"));
  EXPECT_THAT(out(), HasSubstr("Share of each layer's weight"));
}

TEST_F(CommandLineTest, ATextMayGoWithoutTheTokenizersPrefix) {
  FakeServer server;
  EXPECT_EQ(Run({"generate", "--server", server.address(), "--no-special-tokens", "<s>x"}), kExitOk);
  EXPECT_TRUE(server.last_generate().has_add_special_tokens());
  EXPECT_FALSE(server.last_generate().add_special_tokens());
  EXPECT_EQ(Run({"generate", "--server", server.address(), "x"}), kExitOk);
  EXPECT_FALSE(server.last_generate().has_add_special_tokens());
}

TEST_F(CommandLineTest, WhatWasNotGivenIsNotSent) {
  FakeServer server;
  EXPECT_EQ(Run({"generate", "--server", server.address(), "-"}, "from standard input"), kExitOk);
  const v1::GenerateRequest sent = server.last_generate();
  EXPECT_EQ(sent.text(), "from standard input");
  EXPECT_FALSE(sent.sampling().has_temperature());
  EXPECT_FALSE(sent.sampling().has_seed());
  EXPECT_FALSE(sent.has_logprobs());
  EXPECT_FALSE(sent.has_pinned());
}

TEST_F(CommandLineTest, GenerateJsonIsTheWholeReply) {
  FakeServer server;
  EXPECT_EQ(Run({"generate", "--server", server.address(), "--json", "hello"}), kExitOk);
  const auto json = nlohmann::json::parse(out());
  EXPECT_EQ(json["text"], FakeServer::Answer("hello"));
  EXPECT_EQ(json["tokens"].size(), 4u);
  EXPECT_EQ(json["finish"]["reason"], "REASON_STOP_TOKEN");
}

TEST_F(CommandLineTest, AStreamThatBreaksIsAnError) {
  FakeServer server(
      {.piece = [](int index) { return index == 1 ? grpc::Status(grpc::StatusCode::INTERNAL, "engine stopped") : grpc::Status::OK; }});
  EXPECT_EQ(Run({"generate", "--server", server.address(), "hello"}), kExitRefused);
  EXPECT_THAT(err(), HasSubstr("INTERNAL: engine stopped"));
}

TEST_F(CommandLineTest, GenerateBatchWritesOneReplyALine) {
  FakeServer server;
  const std::string in = dir_.Write("in.jsonl", "{\"id\":\"a\",\"text\":\"x\"}\n{\"id\":\"b\",\"text\":\"y\",\"max_tokens\":3}\n");
  EXPECT_EQ(Run({"generate", "--server", server.address(), "--input", in, "--output", dir_.File("out.jsonl")}), kExitOk);
  const auto lines = Lines(ReadFile(dir_.File("out.jsonl")));
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(nlohmann::json::parse(lines[1])["text"], FakeServer::Answer("y"));
  EXPECT_THAT(err(), HasSubstr("2 of 2 answered"));
}

TEST_F(CommandLineTest, ABatchWithAFailedLineExitsWithOne) {
  FakeServer server;
  const std::string in = dir_.Write("in.jsonl", "{\"id\":\"a\",\"text\":\"x\"}\nbroken\n");
  EXPECT_EQ(Run({"route", "--server", server.address(), "--input", in, "--output", dir_.File("out.jsonl")}), kExitSomeFailed);
  EXPECT_THAT(err(), HasSubstr("1 with an error"));
}

TEST_F(CommandLineTest, OptionsOfOneRequestAreRefusedInABatch) {
  const std::string in = dir_.Write("in.jsonl", "{}\n");
  EXPECT_EQ(Run({"generate", "--input", in, "--output", dir_.File("o"), "--temperature", "1"}), kExitUsage);
  EXPECT_THAT(err(), HasSubstr("--temperature does not go with --input"));
}

TEST_F(CommandLineTest, ScoreJoinsContextAndChoiceWithABlankUnlessExact) {
  FakeServer server;
  EXPECT_EQ(Run({"score", "--server", server.address(), "--context", "Capital:", "--choice", "Paris", "--choice", " Rome",
                 "--unconditional", "A:"}),
            kExitOk);
  EXPECT_EQ(server.last_score().continuations(0).text(), " Paris");
  EXPECT_EQ(server.last_score().continuations(1).text(), " Rome");
  EXPECT_EQ(server.last_score().unconditional_text(), "A:");
  EXPECT_THAT(out(), HasSubstr("PMI"));
  EXPECT_EQ(Run({"score", "--server", server.address(), "--exact", "--boundary", "joint", "--context", "Capital:", "--choice", "Paris"}),
            kExitOk);
  EXPECT_EQ(server.last_score().continuations(0).text(), "Paris");
  EXPECT_EQ(server.last_score().boundary(), v1::BOUNDARY_JOINT);
}

TEST_F(CommandLineTest, ScoreMcqReportsAndNamesSkippedRecords) {
  FakeServer server;
  const std::string file = dir_.Write("m.jsonl",
                                      "{\"question\":\"Q1\",\"opa\":\"a\",\"opb\":\"b\",\"opc\":\"c\",\"opd\":\"d\",\"cop\":4}\n"
                                      "{\"question\":\"Q2\",\"opa\":\"a\",\"opb\":\"b\",\"opc\":\"c\",\"cop\":1}\n");
  EXPECT_EQ(Run({"score", "--server", server.address(), "--mcq", file, "--show", "1"}), kExitSomeFailed);
  EXPECT_THAT(out(), HasSubstr("✓ D. d"));
  EXPECT_THAT(out(), HasSubstr("1 questions (medmcqa) · 1 records skipped"));
  EXPECT_THAT(out(), HasSubstr("m.jsonl:2: \"opd\" is missing"));
  EXPECT_EQ(Run({"score", "--server", server.address(), "--mcq", file, "--json", "--judge", "letter", "--routing", "base"}),
            kExitSomeFailed);
  EXPECT_EQ(nlohmann::json::parse(out())["judges"][0]["n"], 1);
  EXPECT_TRUE(server.last_score().routing().has_base_only());
}

TEST_F(CommandLineTest, ScoreMcqUsesATemplateFileAndALimit) {
  FakeServer server;
  const std::string file = dir_.Write("t.csv", "Q1,a,b,c,d,A\nQ2,a,b,c,d,B\n");
  const std::string prompts = dir_.Write("p.txt", "=== text ===\nSay: {question}\n");
  EXPECT_EQ(Run({"score", "--server", server.address(), "--mcq", file, "--template", prompts, "--judge", "text", "--limit", "1"}), kExitOk);
  EXPECT_EQ(server.score_calls(), 1);
  EXPECT_EQ(server.last_score().text(), "Say: Q1");
}

TEST_F(CommandLineTest, RouteShowsTheLevelAskedFor) {
  FakeServer server;
  EXPECT_EQ(Run({"route", "--server", server.address(), "The court", "--level", "token", "--given", "held"}), kExitOk);
  EXPECT_EQ(server.last_route().given_text(), "held");
  EXPECT_THAT(out(), HasSubstr("first choice by layer"));
  EXPECT_EQ(Run({"route", "--server", server.address(), "The court", "--level", "summary"}), kExitOk);
  EXPECT_THAT(out(), ::testing::Not(HasSubstr("first choice by layer")));
}

TEST_F(CommandLineTest, ModelShowsTheServersFigures) {
  FakeServer server;
  EXPECT_EQ(Run({"model", "--server", server.address()}), kExitOk);
  EXPECT_THAT(out(), HasSubstr("dense2moe_mlp"));
  EXPECT_EQ(Run({"model", "--server", server.address(), "--json"}), kExitOk);
  EXPECT_EQ(nlohmann::json::parse(out())["topK"], 2);
}

TEST_F(CommandLineTest, AMissingServerIsNamedWithWhatToDo) {
  std::string address;
  { address = FakeServer().address(); }
  EXPECT_EQ(Run({"model", "--server", address}), kExitUnreachable);
  EXPECT_THAT(err(), HasSubstr("no Switchyard server answers at " + address));
}

TEST_F(CommandLineTest, TheDeadlineIsKeptAndNamed) {
  absl::Notification release;
  FakeServer server({.route = [&](const v1::RouteRequest&) {
    release.WaitForNotification();
    return grpc::Status::OK;
  }});
  EXPECT_EQ(Run({"route", "--server", server.address(), "--timeout", "0.05", "x"}), kExitRefused);
  release.Notify();
  EXPECT_THAT(err(), HasSubstr("within 0.05 s"));
}

TEST_F(CommandLineTest, WrongArgumentsExitWithTwoAndSayWhy) {
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{}, "subcommand"},
      {{"generate"}, "needs a PROMPT"},
      {{"generate", "x", "--system", "s"}, "--system needs --chat"},
      {{"generate", "x", "--chat", "--no-special-tokens"}, "--no-special-tokens is for a text"},
      {{"generate", "x", "--routing", "best"}, "found \"best\""},
      {{"generate", "x", "--temperature", "warm"}, "--temperature"},
      {{"generate", "x", "--frob"}, "--frob"},
      {{"generate", "x", "--seed", "-1"}, "expected a whole number from 0 to 2^64 - 1, found -1"},
      {{"generate", "x", "--seed", "18446744073709551616"}, "2^64 - 1"},
      {{"generate", "x", "--server", ""}, "expected HOST:PORT"},
      {{"generate", "\xff"}, "not UTF-8"},
      {{"generate", "--input", "f"}, "--output"},
      {{"route", "x", "--level", "none"}, "--level"},
      {{"score"}, "score needs one of"},
      {{"score", "--context", "x"}, "--choice"},
      {{"score", "--context", "x", "--choice", "y", "--mcq", "f"}, "score needs one of"},
      {{"score", "--judge", "letter"}, "--judge needs --mcq"},
      {{"score", "--mcq", "no/such/file.csv"}, "no/such/file.csv"},
      {{"score", "--mcq", "x", "--judge", "all"}, "found \"all\""},
      {{"model", "--timeout", "-1"}, "--timeout"}};
  for (const auto& [arguments, message] : cases) {
    EXPECT_EQ(Run(arguments), kExitUsage) << message;
    EXPECT_THAT(err(), HasSubstr(message));
  }
}

TEST_F(CommandLineTest, EveryCommandHasHelpWithExamplesOrExitCodes) {
  for (const char* command : {"generate", "score", "route", "model"}) {
    EXPECT_EQ(Run({command, "--help"}), kExitOk);
    EXPECT_THAT(out(), HasSubstr("SWITCHYARD_SERVER"));
  }
  EXPECT_EQ(Run({"--help"}), kExitOk);
  EXPECT_THAT(out(), HasSubstr("Exit codes"));
}

}  // namespace
}  // namespace switchyard::client
