#include "engine/catalog/state_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/files.h"

namespace switchyard {
namespace {

using ::testing::HasSubstr;

DesiredState Sample() {
  DesiredState state;
  state.revision = 7;
  state.base_generation = "base";
  state.content.experts = {{"law", "law-2", "l2"}, {"zero", "", "zero"}};
  state.content.routers = {{"r", "/abs/router", "r1"}, {"s", "router", "s1"}};
  state.content.stable = {"r", 0};
  state.content.canary = {"s", 0.125};
  state.history = {{3, {}}, {6, state.content}};
  return state;
}

std::string With(const std::string& from, const std::string& to) {
  std::string text = StateText(Sample());
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(StateFileTest, WhatIsWrittenIsReadBack) {
  const TempDir dir;
  const std::string path = dir.File("state.json");
  EXPECT_EQ(ReadState(*FileSystem::Real(), path).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(WriteState(*FileSystem::Real(), path, Sample()).ok());
  const auto read = ReadState(*FileSystem::Real(), path);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->revision, 7u);
  EXPECT_EQ(read->content, Sample().content);
  ASSERT_EQ(read->history.size(), 2u);
  EXPECT_EQ(read->history[1].content, Sample().content);
  EXPECT_EQ(StateText(*read), StateText(Sample()));
}

TEST(StateFileTest, WhatIsWrongIsNamed) {
  const std::pair<std::string, const char*> cases[] = {
      {"", "state"},
      {StateText(Sample()).substr(0, 300), "state"},
      {With("\"format_version\": 1", "\"format_version\": 2"), "format_version"},
      {With("\"revision\": 7", "\"revision\": -7"), "revision"},
      {With("\"revision\": 7", "\"revision\": 7, \"colour\": 1"), "does not know"},
      {With("\"share\": 0.125", "\"share\": 1.5"), "content.roles.canary"},
      {With("\"router\": \"s\"", "\"router\": \"t\""), "not loaded"},
      {With("\"name\": \"zero\"", "\"name\": \"law\""), "there twice"},
      {With("\"name\": \"zero\"", "\"name\": 5"), "content.experts[1]"},
      {With("\"revision\": 6", "\"revision\": 3"), "rising"},
      {With("\"revision\": 6", "\"revision\": 7"), "rising"},
      {With("\"directory\": \"/abs/router\"", "\"directory\": \"\""), "no directory"},
  };
  for (const auto& [text, message] : cases) {
    const auto parsed = ParseState(text, "state");
    ASSERT_FALSE(parsed.ok()) << message;
    EXPECT_THAT(std::string(Message(parsed.status())), HasSubstr(message));
  }
}

}  // namespace
}  // namespace switchyard
