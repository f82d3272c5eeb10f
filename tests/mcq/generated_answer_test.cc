#include "engine/mcq/generated_answer.h"

#include <optional>
#include <string>

#include "engine/mcq/dense2moe_prompt.h"
#include "gtest/gtest.h"

namespace switchyard {
namespace {

struct Case {
  const char* text;
  char letter;  // 0: none
};

std::optional<int> Index(char letter) { return letter == 0 ? std::nullopt : std::optional<int>(letter - 'A'); }

TEST(Dense2MoeLetterTest, FollowsTheSourceIntoItsTraps) {
  const Case cases[] = {
      {" C. Paris", 'C'},
      {"answer: b", 'B'},
      {"ANSWER : d", 'D'},
      {"Answer\n(c)", 'C'},
      {"The answer is D", 'D'},  // after "answer": the first of a to e is the D
      {"The third", 'E'},        // no marker: the e of "The"
      {"Because I know", 'B'},
      {"Answer: none of them", 'E'},        // the e of "none"
      {"The answer is A. Answer: B", 'B'},  // "ANSWER:" is looked for first, wherever it stands
      {"answer B, but ANSWER : C", 'C'},    // then "ANSWER :"
      {"Answer: C\nAnswer: D", 'C'},        // its first occurrence
      {"Answer : B Answer: ", 0},           // the marker chosen leaves nothing behind it
      {"C. It answers the question", 'E'},  // "answers" is a marker too: "s the" names E, and the C is lost
      {"I think not", 0},
      {"", 0},
      {"   \n", 0},
      {"\xC3\xA9 \xFF", 0},  // not ASCII, not UTF-8
      {"zzz e", 'E'},        // E even where only four options are listed
  };
  for (const Case& c : cases) EXPECT_EQ(Dense2MoeLetter(c.text), Index(c.letter)) << c.text;
}

TEST(StrictLetterTest, TakesAnOptionsLetterAloneAtTheStart) {
  const Case cases[] = {
      {"C", 'C'},
      {" C", 'C'},
      {"\n\tB. text", 'B'},
      {"A) yes", 'A'},
      {"D\n", 'D'},
      {"A: x", 'A'},
      {"B2", 'B'},
      {"A\xE2\x80\x94yes", 'A'},  // a dash
      {"A\xFF", 'A'},             // a broken byte is no letter
      {"E", 0},                   // four options
      {"c", 0},
      {"Because", 0},
      {"Answer: C", 0},
      {"(C)", 0},
      {"**C**", 0},
      {"", 0},
      {"  ", 0},
      {"A\xC3\xA9", 0},    // é
      {"\xC3\x81. x", 0},  // Á
  };
  for (const Case& c : cases) EXPECT_EQ(StrictLetter(c.text, 4), Index(c.letter)) << c.text;
  EXPECT_EQ(StrictLetter("E", 5), 4);
  EXPECT_EQ(StrictLetter("Z.", 26), 25);
  EXPECT_EQ(StrictLetter("[", 26), std::nullopt);
}

McqQuestion Question() {
  McqQuestion question;
  question.options = {"London", "Paris", "Rome", "Oslo"};
  question.answer = 1;
  return question;
}

TEST(JudgeGeneratedTest, LetterAndTextNeverCountTheSameAnswerTwice) {
  const GeneratedVerdict both = JudgeGenerated(Question(), " B. Paris", GeneratedJudge::kDense2Moe);
  EXPECT_TRUE(both.correct);
  EXPECT_FALSE(both.text_fallback);
  const GeneratedVerdict text = JudgeGenerated(Question(), "It is Paris", GeneratedJudge::kDense2Moe);
  EXPECT_EQ(text.option, 0);  // the a of Paris
  EXPECT_FALSE(text.correct);
  EXPECT_TRUE(text.text_fallback);
  const GeneratedVerdict wrong = JudgeGenerated(Question(), "C. Rome", GeneratedJudge::kDense2Moe);
  EXPECT_FALSE(wrong.correct || wrong.text_fallback);
  const GeneratedVerdict empty = JudgeGenerated(Question(), "", GeneratedJudge::kDense2Moe);
  EXPECT_FALSE(empty.option.has_value() || empty.correct || empty.text_fallback);
}

TEST(JudgeGeneratedTest, TheTwoJudgesDifferWhereTheSourcesRuleGuesses) {
  const char* guess = "But I cannot say";
  EXPECT_TRUE(JudgeGenerated(Question(), guess, GeneratedJudge::kDense2Moe).correct);
  EXPECT_FALSE(JudgeGenerated(Question(), guess, GeneratedJudge::kLetter).option.has_value());
}

TEST(Dense2MoePromptTest, HasTheSourcesLayout) {
  McqQuestion question = Question();
  question.question = "Which city?";
  EXPECT_EQ(Dense2MoePrompt(question),
            "<|begin_of_text|>\n\n<|start_header_id|>user<|end_header_id|>\n\n"
            "Read the question and choose the one right option among A, B, C or D. Reply in this layout:\n"
            "Answer: <letter>\nExplanation: <why it is right>\n\n"
            "Question: Which city?\nA. London\nB. Paris\nC. Rome\nD. Oslo\n\n"
            "<|eot_id|>\n\n<|start_header_id|>assistant<|end_header_id|>\n\n");
  EXPECT_EQ(Dense2MoeTarget(question), "Answer: B. Paris<|eot_id|>");
  question.explanation = "It is.";
  EXPECT_EQ(Dense2MoeTarget(question), "Answer: B. Paris\n\nExplanation: It is.<|eot_id|>");
}

TEST(Dense2MoePromptTest, ItsTargetIsJudgedRight) {
  const std::string target = Dense2MoeTarget(Question());
  EXPECT_TRUE(JudgeGenerated(Question(), target, GeneratedJudge::kDense2Moe).correct);
  const std::string generated = target.substr(std::string_view(kDense2MoeAnswerStart).size());
  EXPECT_TRUE(JudgeGenerated(Question(), generated, GeneratedJudge::kDense2Moe).correct);
}

TEST(JudgeGeneratedTest, NamesGoBothWays) {
  for (const GeneratedJudge judge : {GeneratedJudge::kLetter, GeneratedJudge::kDense2Moe})
    EXPECT_EQ(*ParseGeneratedJudge(GeneratedJudgeName(judge)), judge);
  EXPECT_FALSE(ParseGeneratedJudge("text").ok());
}

}  // namespace
}  // namespace switchyard
