#include "engine/text/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace switchyard {
namespace {

using ::testing::HasSubstr;
using Code = absl::StatusCode;

class ChatTemplateTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/chat_template_XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void Write(const std::string& name, const std::string& text) { std::ofstream(directory_ + "/" + name, std::ios::binary) << text; }

  std::string RenderLoaded() {
    auto loaded = ChatTemplate::Load(directory_);
    if (!loaded.ok()) return loaded.status().ToString();
    return (*loaded)->Render({{"user", "hi"}}, true).value_or("failed");
  }

  std::string directory_;
};

StatusOr<std::string> RenderSource(const std::string& source, const ChatTemplateOptions& options = {}) {
  auto made = JinjaChatTemplate::Create(source, {{"eos_token", "</s>"}}, options);
  if (!made.ok()) return made.status();
  return (*made)->Render({{"user", "hello"}, {"assistant", "there"}}, false);
}

TEST_F(ChatTemplateTest, JinjaFileComesBeforeTheConfig) {
  Write("tokenizer_config.json",
        R"({"chat_template": "config", "bos_token": "<b>", "eos_token": {"content": "<e>", "lstrip": false}, "pad_token": null})");
  EXPECT_EQ(RenderLoaded(), "config");
  Write("chat_template.jinja",
        "{{ bos_token }}{{ eos_token }}{{ pad_token is defined }}{{ messages[0].content }}{{ add_generation_prompt }}");
  EXPECT_EQ(RenderLoaded(), "<b><e>FalsehiTrue");
}

TEST_F(ChatTemplateTest, JinjaFileNeedsNoConfig) {
  Write("chat_template.jinja", "{{ messages[0].role }}");
  EXPECT_EQ(RenderLoaded(), "user");
}

TEST_F(ChatTemplateTest, ListFormTakesTheDefault) {
  Write("tokenizer_config.json", R"({"chat_template": [{"name": "rag", "template": "no"}, {"name": "default", "template": "yes"}]})");
  EXPECT_EQ(RenderLoaded(), "yes");
  Write("tokenizer_config.json", R"({"chat_template": [{"name": "rag", "template": "no"}]})");
  EXPECT_EQ(ChatTemplate::Load(directory_).status().code(), Code::kNotFound);
  EXPECT_THAT(RenderLoaded(), HasSubstr("rag"));
}

TEST_F(ChatTemplateTest, AbsentAndBrokenFiles) {
  EXPECT_EQ(ChatTemplate::Load(directory_).status().code(), Code::kNotFound);
  Write("tokenizer_config.json", "{}");
  EXPECT_EQ(ChatTemplate::Load(directory_).status().code(), Code::kNotFound);
  for (const char* broken :
       {"{", "[]", "\xff", R"({"chat_template": 3})", R"({"chat_template": [3]})", R"({"chat_template": "x", "bos_token": 5})",
        R"({"chat_template": "{% if %}"})", R"({"chat_template": "{% for x in y %}"})", R"({"chat_template": "{{ 'open }}"})"}) {
    Write("tokenizer_config.json", broken);
    EXPECT_EQ(ChatTemplate::Load(directory_).status().code(), Code::kDataLoss) << broken;
    EXPECT_THAT(RenderLoaded(), HasSubstr("tokenizer_config.json")) << broken;
  }
}

TEST(ChatTemplateRenderTest, RaisedTextReachesTheCaller) {
  auto text = RenderSource("{% macro deep() %}{{ raise_exception('roles must ' ~ 'alternate') }}{% endmacro %}{{ deep() }}");
  EXPECT_EQ(text.status().code(), Code::kInvalidArgument);
  EXPECT_EQ(Message(text.status()), "chat template: roles must alternate");
}

TEST(ChatTemplateRenderTest, TemplateErrorsNameTheLine) {
  auto text = RenderSource("line one\n{{ messages[9].content.strip() }}");
  EXPECT_EQ(text.status().code(), Code::kInvalidArgument);
  EXPECT_THAT(std::string(Message(text.status())), HasSubstr("(line 2)"));
}

TEST(ChatTemplateRenderTest, EndlessTemplatesRunOutOfFuel) {
  for (const char* source :
       {"{% for a in range(90000) %}{% for b in range(90000) %}{% set x = a * b %}{% endfor %}{% endfor %}",
        "{% macro again(n) %}{% for i in range(10) %}{{ again(n + 1) if n < 40 }}{% endfor %}{% endmacro %}{{ again(0) }}",
        "{% set ns = namespace(x='xxxxxxxxxxxxxxxx') %}{% for i in range(1000) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"}) {
    auto text = RenderSource(source, {.fuel = 200'000});
    EXPECT_EQ(text.status().code(), Code::kResourceExhausted) << source << text.status();
  }
}

TEST(ChatTemplateRenderTest, RecursionEndsInAnError) {
  EXPECT_FALSE(RenderSource("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}").ok());
  std::string nested;
  for (int i = 0; i < 20'000; ++i) nested += "{% if true %}";
  EXPECT_EQ(RenderSource(nested).status().code(), Code::kDataLoss);
  EXPECT_EQ(RenderSource("{{ " + std::string(20'000, '(') + " }}").status().code(), Code::kDataLoss);
}

TEST(ChatTemplateRenderTest, HugeOutputIsCut) {
  auto text = RenderSource("{% for i in range(1000) %}{{ messages[0].content * 100 }}{% endfor %}", {.max_output_bytes = 10'000});
  EXPECT_EQ(text.status().code(), Code::kResourceExhausted);
  EXPECT_THAT(std::string(Message(text.status())), HasSubstr("more than 10000 bytes"));
  EXPECT_FALSE(RenderSource("{{ 'x' * 1000000000000 }}").ok());
  EXPECT_FALSE(RenderSource("{{ range(100000000) | list }}").ok());
}

TEST(ChatTemplateRenderTest, BadUtf8IsRefusedByField) {
  auto made = JinjaChatTemplate::Create("{{ messages }}", {}, {});
  ASSERT_TRUE(made.ok());
  auto text = (*made)->Render({{"user", "fine"}, {"user", "bad \xff"}}, false);
  EXPECT_EQ(text.status().code(), Code::kInvalidArgument);
  EXPECT_EQ(Message(text.status()), "messages[1].content: not valid UTF-8 at byte 4");
  EXPECT_EQ(RenderSource("\xff").status().code(), Code::kDataLoss);
}

TEST(ChatTemplateRenderTest, BrokenTimeFormatsAreErrors) {
  EXPECT_EQ(*RenderSource("{{ strftime_now('%Y-%m-%d %H:%M:%S') }}", {.local_seconds = 1'721'985'930}), "2024-07-26 09:25:30");
  EXPECT_FALSE(RenderSource("{{ strftime_now('%Q%') }}").ok());
  EXPECT_EQ(RenderSource("{{ strftime_now('%Y') }}")->size(), 4u);
}

TEST(ChatTemplateRenderTest, ContentIsNeverRead) {
  auto made = JinjaChatTemplate::Create("{{ messages[0].content }}", {}, {});
  EXPECT_EQ(*(*made)->Render({{"user", "{{ 1 + 1 }} <b>&amp;"}}, false), "{{ 1 + 1 }} <b>&amp;");
}

TEST(ChatTemplateRenderTest, SpecialTokensAreVariables) { EXPECT_EQ(*RenderSource("{{ eos_token }}{{ bos_token }}"), "</s>"); }

}  // namespace
}  // namespace switchyard
