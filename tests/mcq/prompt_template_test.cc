#include "engine/mcq/prompt_template.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace switchyard {
namespace {

McqQuestion Question(const std::string& context = "") {
  McqQuestion question;
  question.context = context;
  question.question = "Which {one}?";
  question.options = {"red", "green", "blue"};
  return question;
}

TEST(PromptTemplate, TheDefaultsShowOptionsOnlyToTheLetterJudge) {
  const PromptTemplates templates = PromptTemplates::Default();
  EXPECT_EQ(RenderPrompt(templates.letter, Question()), "Question: Which {one}?\nA. red\nB. green\nC. blue\nAnswer:");
  EXPECT_EQ(RenderPrompt(templates.text, Question("A passage.")), "A passage.\n\nQuestion: Which {one}?\nAnswer:");
}

TEST(PromptTemplate, SectionsReplaceTheirDefaultsOnly) {
  const auto templates = ParseTemplates("=== letter ===\n{{x}} {question}\n{options}\nOne of {letters}:\n\n", "t");
  ASSERT_TRUE(templates.ok()) << templates.status();
  EXPECT_EQ(RenderPrompt(templates->letter, Question()), "{x} Which {one}?\nA. red\nB. green\nC. blue\nOne of A, B or C:");
  EXPECT_EQ(templates->text, PromptTemplates::Default().text);
  EXPECT_EQ(ParseTemplates("=== unconditional ===\r\nA:\r\n", "t")->unconditional, "A:");
}

TEST(PromptTemplate, AFileWithoutSectionsIsForBothJudges) {
  const auto templates = ParseTemplates("Q: {question}\nA:\n", "t");
  ASSERT_TRUE(templates.ok());
  EXPECT_EQ(templates->letter, "Q: {question}\nA:");
  EXPECT_EQ(templates->text, templates->letter);
}

TEST(PromptTemplate, MistakesAreNamed) {
  const std::pair<const char*, const char*> cases[] = {{"{question} {subject}", "found \"{subject"},
                                                       {"{question} {", "found \"{"},
                                                       {"{question} }", "lone \"}\""},
                                                       {"Answer:", "{question} is missing"},
                                                       {"=== prompt ===\n{question}", "found \"prompt\""},
                                                       {"=== text ===\n{question}\n=== text ===\n{question}", "given twice"},
                                                       {"hello\n=== text ===\n{question}", "before the first section"},
                                                       {"{question}\xff", "not UTF-8"}};
  for (const auto& [text, message] : cases) {
    const auto templates = ParseTemplates(text, "file.txt");
    ASSERT_FALSE(templates.ok()) << text;
    EXPECT_THAT(std::string(Message(templates.status())), ::testing::HasSubstr(message));
    EXPECT_THAT(std::string(Message(templates.status())), ::testing::HasSubstr("file.txt"));
  }
}

}  // namespace
}  // namespace switchyard
