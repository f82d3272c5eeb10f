// A whole comparison on a tiny base, with a tokenizer of single characters.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tests/testing/files.h"
#include "tests/testing/tiny_model.h"
#include "trainer/compare/comparison.h"
#include "trainer/compare/comparison_json.h"

namespace switchyard::trainer {
namespace {

using ::testing::HasSubstr;

// A token a character, 64 of them; others become "?".
std::string CharacterTokenizer() {
  nlohmann::json vocabulary = nlohmann::json::object();
  const std::string characters = "?abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ .,:\n012345";
  for (size_t i = 0; i < characters.size(); ++i) vocabulary[std::string(1, characters[i])] = i;
  return nlohmann::json{
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", nlohmann::json::array()},
      {"normalizer", nullptr},
      {"pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", "[\\s\\S]"}}}, {"behavior", "Isolated"}, {"invert", false}}},
      {"post_processor", nullptr},
      {"decoder", {{"type", "Fuse"}}},
      {"model", {{"type", "WordLevel"}, {"vocab", vocabulary}, {"unk_token", "?"}}}}
      .dump();
}

class CompareTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(testing::WriteTinyBase(root_.File("base"), spec_).ok());
    root_.Write("base/tokenizer.json", CharacterTokenizer());
    ASSERT_TRUE(testing::WriteTinyExpert(root_.File("law"), spec_, 3, 21).ok());
    ASSERT_TRUE(testing::WriteTinyExpert(root_.File("code"), spec_, 5, 22).ok());
    for (const auto& [name, top_k, seed] : {std::tuple{"one", 1, 9u}, {"two", 2, 9u}, {"other", 1, 10u}}) {
      testing::TinyRouterSpec router{.name = name, .kind = "linear", .top_k = top_k, .weight_mode = "renorm", .seed = seed, .experts = {}};
      router.experts = {{"law", root_.File("law")}, {"zero", ""}, {"code", root_.File("code")}};
      ASSERT_TRUE(testing::WriteTinyRouter(root_.File(name), spec_, root_.File("base"), router).ok());
    }
    root_.Write("law.jsonl", Questions("what is the law of ", 5));
    root_.Write("code.jsonl", Questions("which line prints ", 4));
    options_.base_directory = root_.File("base");
    options_.out_directory = root_.File("out");
    options_.experts = {{"law", {root_.File("law")}}, {"code", {root_.File("code")}}};
    options_.questions.sources = {root_.File("law.jsonl"), root_.File("code.jsonl")};
    options_.questions.max_tokens = 128;
    options_.questions.with_prior = options_.questions.with_letter = true;
    options_.threads = 2;
    options_.dtype = "f32";
    options_.timing = {.prefill_tokens = 8, .decode_steps = 3, .rounds = 2};
    options_.report.batch_rows = 64;
  }

  static std::string Questions(const std::string& start, int count) {
    std::string text;
    for (int i = 0; i < count; ++i) {
      const std::string name(1, static_cast<char>('a' + i));
      text +=
          nlohmann::json{{"question", start + name + name}, {"options", {name + "one", "two" + name, "three " + name}}, {"answer", i % 3}}
              .dump() +
          "\n";
    }
    return text;
  }

  MethodSpec Router(const std::string& name, const std::vector<std::string>& artifacts, int32_t top_k = 0) const {
    MethodSpec method{.name = name, .kind = MethodKind::kRouter, .directories = {}, .top_k = top_k};
    for (const std::string& artifact : artifacts) method.directories.push_back(root_.File(artifact));
    return method;
  }

  StatusOr<Comparison> Run() {
    return Compare(options_, [](const std::string&) {});
  }

  // What does not depend on the clock.
  static std::string Timeless(const Comparison& comparison) {
    auto json = nlohmann::json::parse(ComparisonJson(comparison));
    for (auto& method : json["methods"]) {
      for (auto& artifact : method["artifacts"]) artifact.erase("cost");
    }
    return json.dump();
  }

  const TempDir root_;
  const testing::TinyModelSpec spec_;
  CompareOptions options_;
};

TEST_F(CompareTest, EveryKindOfMethodAnswersTheSameQuestions) {
  options_.methods = {{.name = "base", .kind = MethodKind::kBase, .directories = {}},
                      {.name = "random", .kind = MethodKind::kRandom, .directories = {}},
                      {.name = "oracle", .kind = MethodKind::kOracle, .directories = {}},
                      Router("seeds", {"one", "other"}),
                      Router("two", {"two"}),
                      Router("one-as-two", {"one"}, 2)};
  options_.checkpoints = {{"seeds", {root_.File("one"), root_.File("other"), root_.File("other")}}};
  options_.ablations = {{"two", {"seeds"}}};
  const auto comparison = Run();
  ASSERT_TRUE(comparison.ok()) << comparison.status();
  ASSERT_EQ(comparison->methods.size(), 6u);
  EXPECT_EQ(comparison->sets[0].name, "law");
  EXPECT_EQ(comparison->sets[0].questions, 5);
  for (const MethodResult& method : comparison->methods) {
    for (const ArtifactResult& artifact : method.artifacts) {
      for (const auto& judge : artifact.accuracy) {
        EXPECT_EQ(judge[0].trials, 5) << method.name;
        EXPECT_EQ(judge[1].trials, 4) << method.name;
      }
      EXPECT_EQ(artifact.routing.has_value(), method.name != "base");
      EXPECT_GT(artifact.timings.decode_seconds.p50, 0);
      EXPECT_GE(artifact.timings.decode_seconds.p99, artifact.timings.decode_seconds.p50);
      EXPECT_GT(artifact.timings.routing_share, 0);
      EXPECT_LT(artifact.timings.routing_share, 1);
      EXPECT_EQ(artifact.flops.router > 0, method.name != "base" && method.name != "oracle");
      EXPECT_EQ(artifact.flops.experts > 0, method.name != "base");
    }
  }
  // The oracle sends every token of a set to one expert, in every layer.
  const RoutingFigures& oracle = comparison->methods[2].artifacts[0].routing->with_zero;
  EXPECT_NEAR(*oracle.mean[kNormalisedMutualInformation], 1, 1e-9);
  EXPECT_NEAR(*oracle.by_task[0], 1, 1e-9);  // law on law
  EXPECT_FALSE(oracle.mean[kRoutingEntropy].has_value());
  // A k in place of the artifact's own is what a router trained as that gives: same weights, same routes.
  const FigureRow &two = comparison->methods[4].artifacts[0].routing->with_zero.mean,
                  &as_two = comparison->methods[5].artifacts[0].routing->with_zero.mean;
  for (int f = 0; f < kFigureCount; ++f) EXPECT_EQ(two[f], as_two[f]) << kFigureNames[f].id;
  EXPECT_TRUE(two[kGramOrthogonality].has_value());
  EXPECT_GT(*two[kOverlapPosition], 0);
  EXPECT_EQ(comparison->methods[5].artifacts[0].accuracy[kJudgeSum][0].successes,
            comparison->methods[4].artifacts[0].accuracy[kJudgeSum][0].successes);
  // One of the two neighbouring pairs is the same router twice.
  ASSERT_TRUE(comparison->methods[3].checkpoints.has_value());
  EXPECT_GT(*comparison->methods[3].checkpoints->same_set, 0.5);
  EXPECT_LT(*comparison->methods[3].checkpoints->same_set, 1);
  EXPECT_FALSE(comparison->methods[4].checkpoints.has_value());

  const auto again = Run();
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(Timeless(*comparison), Timeless(*again));
}

TEST_F(CompareTest, RoutingFiguresAreOverPromptsWithTheirRightAnswers) {
  options_.methods = {Router("one", {"one"})};
  options_.probability_tokens = 10;
  const auto comparison = Run();
  ASSERT_TRUE(comparison.ok()) << comparison.status();
  int64_t tokens = 0;
  for (const auto& [start, count] : {std::pair<std::string, int>{"what is the law of ", 5}, {"which line prints ", 4}}) {
    for (int i = 0; i < count; ++i) {
      const int64_t option = i % 3 == 2 ? 8 : 5;  // " aone", " twoa", " three a"
      tokens += static_cast<int64_t>(std::string("Question: \nAnswer:").size() + start.size()) + 2 + option;
    }
  }
  EXPECT_EQ(comparison->tokens, tokens);
  EXPECT_TRUE(comparison->methods[0].artifacts[0].routing->with_zero.mean[kGramMeanAbs].has_value());
}

TEST_F(CompareTest, ExpertsAreFoundByHash) {
  ASSERT_TRUE(testing::WriteTinyExpert(root_.File("law-retrained"), spec_, 3, 77).ok());
  options_.methods = {Router("one", {"one"})};
  options_.experts.insert(options_.experts.begin(), {"law", {root_.File("law-retrained")}});
  EXPECT_TRUE(Run().ok());
  options_.experts = {{"law", {root_.File("law-retrained")}}, {"code", {root_.File("code")}}};
  const auto missing = Run();
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(Message(missing.status())), HasSubstr("bound to expert law"));
}

TEST_F(CompareTest, WhatCannotBeComparedIsRefused) {
  const auto refused = [&](const std::string& part) {
    const auto result = Run();
    EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument) << result.status();
    EXPECT_THAT(std::string(Message(result.status())), HasSubstr(part));
  };
  refused("at least one");
  options_.methods = {Router("one", {"one"}), Router("one", {"two"})};
  refused("two of this name");
  options_.methods = {Router("mixed", {"one", "two"})};
  refused("the first artifact is");
  options_.methods = {Router("one", {"one"}, 4)};
  refused("top_k 4");
  options_.methods = {{.name = "oracle", .kind = MethodKind::kOracle, .directories = {}}};
  refused("needs a method with a router");
  options_.methods = {Router("one", {"one"})};
  options_.checkpoints = {{"nobody", {"a", "b"}}};
  refused("no method has this name");
  options_.checkpoints.clear();
  options_.ablations = {{"one", {"nobody"}}};
  refused("no method is named nobody");
  options_.ablations.clear();
  options_.questions.sources.push_back("law=" + root_.File("code.jsonl"));
  refused("is there already");
}

}  // namespace
}  // namespace switchyard::trainer
