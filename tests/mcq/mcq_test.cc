// The formats of multiple-choice files, on samples written here in the shape of the originals.
#include "engine/mcq/mcq.h"

#include <string>

#include "engine/mcq/mathqa_options.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/files.h"

namespace switchyard {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

McqSet Parse(std::string_view text, McqFormat format = McqFormat::kAuto, const std::string& file = "dir/sample.jsonl") {
  const auto set = ParseMcq(text, format, file);
  EXPECT_TRUE(set.ok()) << set.status();
  return set.ok() ? *set : McqSet{};
}

std::string Error(std::string_view text, McqFormat format = McqFormat::kAuto, const std::string& file = "sample.jsonl") {
  const auto set = ParseMcq(text, format, file);
  return set.ok() ? "" : std::string(Message(set.status()));
}

constexpr const char* kMed1 =
    R"({"question":"Which bone?","exp":null,"cop":3,"opa":"Femur","opb":"Tibia","opc":"Ulna","opd":"Radius","subject_name":"Anatomy","id":"m-1","choice_type":"single"})";
constexpr const char* kMed2 = R"({"question":"Which gas?","cop":4,"opa":"N2","opb":"He","opc":"Ar","opd":"O2","id":"m-2"})";

TEST(MedMcqa, CountsTheRightOptionFromOneAsTheReleaseDoes) {
  const McqSet set = Parse(std::string(kMed1) + "\n" + kMed2 + "\n");
  EXPECT_EQ(set.questions.at(0).format, McqFormat::kMedMcqa);
  ASSERT_EQ(set.questions.size(), 2u);
  EXPECT_EQ(set.questions[0].id, "m-1");
  EXPECT_THAT(set.questions[0].options, ElementsAre("Femur", "Tibia", "Ulna", "Radius"));
  EXPECT_EQ(set.questions[0].answer, 2);
  EXPECT_EQ(set.questions[1].answer, 3);
  EXPECT_EQ(set.questions[1].line, 2);
}

TEST(MedMcqa, AFileWithAZeroCountsFromZero) {
  std::string zero = kMed2;
  zero.replace(zero.find("\"cop\":4"), 7, "\"cop\":0");
  const McqSet set = Parse(std::string(kMed1) + "\n" + zero);
  ASSERT_EQ(set.questions.size(), 2u);
  EXPECT_EQ(set.questions[0].answer, 3);
  EXPECT_EQ(set.questions[1].answer, 0);
  EXPECT_THAT(Error(std::string(kMed2) + "\n" + zero), HasSubstr("counts from 0 in line 2 but from 1 in line 1"));
}

TEST(MedMcqa, NamesEachBadLineAndKeepsTheRest) {
  const std::string text = std::string(kMed1) +
                           "\n"
                           "{broken\n"
                           "\n"
                           R"({"question":"q","cop":1,"opa":"a","opb":"b","opc":"c"})"
                           "\n"
                           R"({"question":"q","cop":5,"opa":"a","opb":"b","opc":"c","opd":"d"})"
                           "\n"
                           R"({"question":"q","cop":"2","opa":"a","opb":"b","opc":"c","opd":"d"})"
                           "\n"
                           R"({"question":" ","cop":2,"opa":"a","opb":"b","opc":"c","opd":"d"})"
                           "\n"
                           R"({"question":"q","cop":2,"opa":"a","opb":"","opc":"c","opd":"d"})"
                           "\n[1]\n{\"question\":\"\xff\"}\n";
  const McqSet set = Parse(text);
  EXPECT_EQ(set.questions.size(), 1u);
  ASSERT_EQ(set.bad.size(), 8u);
  const std::pair<int, const char*> expected[] = {
      {2, "not JSON"},          {4, "\"opd\" is missing"}, {5, "expected 1 to 4 (or 0 to 3), found 5"}, {6, "expected an integer"},
      {7, "question is empty"}, {8, "option B is empty"},  {9, "expected a JSON object, found array"},  {10, "not JSON"}};
  for (size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(set.bad[i].line, expected[i].first);
    EXPECT_THAT(set.bad[i].reason, HasSubstr(expected[i].second));
  }
}

constexpr const char* kCase =
    R"({"input_text": "Given the following excerpt from a US court opinion:\n\"He said \"no\" and left. See Doe v. Roe ([Masked Holding]); cf.\"\n\nThe [Masked Holding] is a placeholder for one of the following options:\n- holding that a\n- holding that b\nThe relevant option is:", "choices": ["holding that a", "holding that b"], "answer": "holding that b"})";

TEST(CaseHold, TakesTheExcerptOutOfTheTemplatedForm) {
  const McqSet set = Parse(kCase);
  EXPECT_EQ(set.questions.at(0).format, McqFormat::kCaseHold);
  ASSERT_EQ(set.questions.size(), 1u) << set.bad[0].reason;
  EXPECT_EQ(set.questions[0].context, "He said \"no\" and left. See Doe v. Roe ([Masked Holding]); cf.");
  EXPECT_EQ(set.questions[0].answer, 1);
  EXPECT_EQ(set.questions[0].id, "sample:1");
  EXPECT_THAT(set.questions[0].question, HasSubstr("[Masked Holding]"));
}

TEST(CaseHold, TakesThePlainForm) {
  const McqSet set = Parse(R"({"context":"See X (<HOLDING>).","endings":["holding a","holding b","holding c"],"label":2})");
  ASSERT_EQ(set.questions.size(), 1u);
  EXPECT_EQ(set.questions[0].answer, 2);
  EXPECT_EQ(set.questions[0].context, "See X (<HOLDING>).");
}

TEST(CaseHold, NamesWhatIsWrong) {
  const McqSet set = Parse(R"({"input_text":"no excerpt","choices":["a","b"],"answer":"a"})"
                           "\n"
                           R"({"context":"c","endings":["a","b"],"label":2})"
                           "\n"
                           R"({"context":"c","endings":["a",2],"label":0})"
                           "\n"
                           R"({"context":"c","endings":["a"],"label":0})",
                           McqFormat::kCaseHold);
  ASSERT_EQ(set.bad.size(), 4u);
  EXPECT_THAT(set.bad[0].reason, HasSubstr("no excerpt in quotes"));
  EXPECT_THAT(set.bad[1].reason, HasSubstr("expected 0 to 1, found 2"));
  EXPECT_THAT(set.bad[2].reason, HasSubstr("expected strings"));
  EXPECT_THAT(set.bad[3].reason, HasSubstr("2 to 26 options, found 1"));
  std::string other = kCase;
  other.replace(other.rfind("holding that b"), 14, "holding that c");
  EXPECT_THAT(Parse(other).bad.at(0).reason, HasSubstr("none of the choices"));
}

TEST(MathQa, ReadsBothFormsOfOptions) {
  const McqSet set = Parse(R"([
    {"Problem": "2 + 2 ?", "Rationale": "x", "options": "a ) 3 , b ) 4 , c ) 1 , 000 , d ) 5 , e ) none", "correct": "b", "category": "general"},
    {"Problem": "3 + 3 ?", "options": "['a ) 6', 'b ) it\\'s 7', \"c ) x's\"]", "correct": "a"}])",
                           McqFormat::kAuto, "test.json");
  EXPECT_EQ(set.questions.at(0).format, McqFormat::kMathQa);
  ASSERT_EQ(set.questions.size(), 2u);
  EXPECT_THAT(set.questions[0].options, ElementsAre("3", "4", "1 , 000", "5", "none"));
  EXPECT_EQ(set.questions[0].answer, 1);
  EXPECT_THAT(set.questions[1].options, ElementsAre("6", "it's 7", "x's"));
  EXPECT_EQ(set.questions[1].id, "test:2");
}

TEST(Explanations, ComeFromWhereEachFormatHasThem) {
  std::string med = kMed1;
  med.replace(med.find("\"exp\":null"), 10, R"("exp":" Because. ")");
  EXPECT_EQ(Parse(med).questions.at(0).explanation, "Because.");
  EXPECT_EQ(Parse(kMed1).questions.at(0).explanation, "");
  const char* math = R"([{"Problem":"p","Rationale":"\"so it is a .\"","options":"a ) 1 , b ) 2","correct":"a"}])";
  EXPECT_EQ(Parse(math).questions.at(0).explanation, "so it is a .");
  EXPECT_EQ(Parse(R"({"question":"Q","options":["a","b"],"answer":0,"explanation":"why"})").questions.at(0).explanation, "why");
  EXPECT_EQ(Parse(R"({"question":"Q","options":["a","b"],"answer":0,"explanation":7})").questions.at(0).explanation, "");
}

TEST(MathQa, DropsLabelsThatTheDataRepeats) {
  EXPECT_THAT(*ParseMathQaOptions("a ) a ) 15 , b ) 10 , c ) c ) 14"), ElementsAre("15", "10", "14"));
  EXPECT_THAT(*ParseMathQaOptions("['a ) a ) 4 inches', 'b ) b ) 6 inches']"), ElementsAre("4 inches", "6 inches"));
}

TEST(MathQa, RefusesOptionsOfAnotherShape) {
  for (const char* text :
       {"", "38 , 40", "['a ) 1', 'c ) 2']", "['a ) 1'", "['a ) 1', 2]", "['a ) 1", "[", "['a ) 1'] x", "['a ) 1' 'b ) 2']"}) {
    EXPECT_FALSE(ParseMathQaOptions(text).ok()) << text;
  }
}

TEST(MathQa, NamesBadRecordsByNumber) {
  const McqSet set =
      Parse(R"([1, {"Problem":"p","options":"a ) 1 , b ) 2","correct":"c"}, {"Problem":"p","options":"a ) 1 , b ) 2","correct":"yes"},
                               {"Problem":"p","options":"a ) 1 , b ) 2"}, {"Problem":"p","options":"a ) 1 , b ) 2","correct":"b"}])");
  EXPECT_EQ(set.questions.size(), 1u);
  ASSERT_EQ(set.bad.size(), 4u);
  EXPECT_EQ(set.bad[1].line, 2);
  EXPECT_THAT(set.bad[1].reason, HasSubstr("option number 3 of 2"));
  EXPECT_THAT(set.bad[2].reason, HasSubstr("expected a letter"));
  EXPECT_THAT(set.bad[3].reason, HasSubstr("\"correct\" is missing"));
  EXPECT_THAT(Error("[{\"Problem\": ", McqFormat::kAuto, "x.json"), HasSubstr("x.json: not JSON"));
  EXPECT_THAT(Error("{}", McqFormat::kMathQa), HasSubstr("expected one JSON array"));
}

TEST(Mmlu, ReadsTheOriginalWithoutHeading) {
  const McqSet set = Parse("What is 1+1?,1,2,3,4,B\n\"One, \"\"two\"\"\nor?\",a,b,\"c,d\",e,D\n", McqFormat::kAuto, "anatomy_test.csv");
  EXPECT_EQ(set.questions.at(0).format, McqFormat::kMmlu);
  ASSERT_EQ(set.questions.size(), 2u);
  EXPECT_EQ(set.questions[0].answer, 1);
  EXPECT_EQ(set.questions[1].question, "One, \"two\"\nor?");
  EXPECT_THAT(set.questions[1].options, ElementsAre("a", "b", "c,d", "e"));
  EXPECT_EQ(set.questions[1].answer, 3);
  EXPECT_EQ(set.questions[1].id, "anatomy_test:2");
}

TEST(Mmlu, ReadsTheExportWithHeadingAndNumbers) {
  const McqSet set = Parse("question,choice0,choice1,choice2,choice3,answer\nWhat?,a,b,c,d,0\n", McqFormat::kMmlu);
  ASSERT_EQ(set.questions.size(), 1u);
  EXPECT_TRUE(set.bad.empty());
  EXPECT_EQ(set.questions[0].answer, 0);
}

TEST(Mmlu, NamesBadRows) {
  const McqSet set = Parse("q,a,b,c,d,E\nq,a,b,c,A\nq,a,b\"x,c,d,A\nq,a,b,c,d,A\nq,a,b,c,\xff,A\n", McqFormat::kMmlu);
  EXPECT_EQ(set.questions.size(), 1u);
  ASSERT_EQ(set.bad.size(), 4u);
  EXPECT_THAT(set.bad[0].reason, HasSubstr("expected A to D, or 0 to 3, found \"E\""));
  EXPECT_THAT(set.bad[1].reason, HasSubstr("expected 6 fields, found 5"));
  EXPECT_THAT(set.bad[2].reason, HasSubstr("quote"));
  EXPECT_EQ(set.bad[3].line, 5);
  EXPECT_THAT(set.bad[3].reason, HasSubstr("not UTF-8"));
}

TEST(OwnJsonl, TakesIndexOrLetterAndListOrObject) {
  const McqSet set = Parse(R"({"id":"x","question":"Q?","options":["a","b"],"answer":1,"context":"C","more":true})"
                           "\n"
                           R"({"id":7,"question":"Q?","options":{"A":"a","B":"b","C":"c"},"answer":"C"})");
  EXPECT_EQ(set.questions.at(0).format, McqFormat::kJsonl);
  ASSERT_EQ(set.questions.size(), 2u);
  EXPECT_EQ(set.questions[0].context, "C");
  EXPECT_EQ(set.questions[0].answer, 1);
  EXPECT_EQ(set.questions[1].id, "7");
  EXPECT_THAT(set.questions[1].options, ElementsAre("a", "b", "c"));
  EXPECT_EQ(set.questions[1].answer, 2);
}

TEST(OwnJsonl, NamesWhatIsWrong) {
  const McqSet set = Parse(
      "{\"question\":\"Q\",\"options\":[\"a\",\"b\"],\"answer\":2}\n"
      "{\"question\":\"Q\",\"options\":[\"a\",\"b\"],\"answer\":\"b\"}\n"
      "{\"question\":\"Q\",\"options\":{\"A\":\"a\",\"C\":\"b\"},\"answer\":0}\n"
      "{\"question\":\"Q\",\"options\":[\"a\",\"b\"],\"answer\":18446744073709551615}\n"
      "{\"question\":\"Q\",\"options\":[\"a\",\"b\"]}\n");
  ASSERT_EQ(set.bad.size(), 5u);
  EXPECT_THAT(set.bad[0].reason, HasSubstr("expected 0 to 1, found 2"));
  EXPECT_THAT(set.bad[1].reason, HasSubstr("a letter from A"));
  EXPECT_THAT(set.bad[2].reason, HasSubstr("\"B\" is missing"));
  EXPECT_THAT(set.bad[3].reason, HasSubstr("too large"));
  EXPECT_THAT(set.bad[4].reason, HasSubstr("\"answer\" is missing"));
}

TEST(Detection, SaysWhenItCannotTell) {
  EXPECT_THAT(Error("hello"), HasSubstr("the format cannot be told"));
  EXPECT_THAT(Error("{\"a\":1}"), HasSubstr("keys of no known format"));
  EXPECT_THAT(Error("", McqFormat::kAuto, "x.jsonl"), HasSubstr("the format cannot be told"));
  EXPECT_FALSE(ParseMcqFormat("medqa").ok());
}

TEST(Detection, LooksPastABrokenFirstLineAndAByteOrderMark) {
  const McqSet set = Parse(std::string("\xEF\xBB\xBF{broken\n") + kMed1);
  EXPECT_EQ(set.questions.at(0).format, McqFormat::kMedMcqa);
  EXPECT_EQ(set.questions.size(), 1u);
  EXPECT_EQ(set.bad.size(), 1u);
}

TEST(ReadMcqFilesTest, ADirectoryIsReadInTheOrderOfNames) {
  TempDir dir;
  dir.Write("b_test.csv", "Q2?,a,b,c,d,B\n");
  dir.Write("a_test.csv", "Q1?,a,b,c,d,A\n");
  dir.Write("notes.txt", "not a question");
  const auto set = ReadMcqFiles({dir.File("")}, McqFormat::kAuto);
  ASSERT_TRUE(set.ok()) << set.status();
  ASSERT_EQ(set->questions.size(), 2u);
  EXPECT_EQ(set->questions[0].id, "a_test:1");
  EXPECT_EQ(set->questions[1].id, "b_test:1");
  EXPECT_FALSE(ReadMcqFiles({dir.File("missing.csv")}, McqFormat::kAuto).ok());
}

struct SharedCase {
  const char* path;
  McqFormat format;
  size_t questions;
  size_t options;
};

class SharedFiles : public ::testing::TestWithParam<SharedCase> {};

TEST_P(SharedFiles, EveryRecordOfTheRealFileIsUnderstood) {
  const std::string shared = SharedDirectory();
  if (shared.empty()) GTEST_SKIP() << "no shared data; SWITCHYARD_SHARED names its folder";
  const auto set = ReadMcqFiles({shared + "/data/mcq/" + GetParam().path}, McqFormat::kAuto);
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ(set->questions.at(0).format, GetParam().format);
  EXPECT_EQ(set->questions.size(), GetParam().questions);
  EXPECT_TRUE(set->bad.empty()) << set->bad[0].file << ":" << set->bad[0].line << ": " << set->bad[0].reason;
  for (const McqQuestion& question : set->questions) ASSERT_EQ(question.options.size(), GetParam().options) << question.id;
}

INSTANTIATE_TEST_SUITE_P(All, SharedFiles,
                         ::testing::Values(SharedCase{"medmcqa/test.jsonl", McqFormat::kMedMcqa, 1000, 4},
                                           SharedCase{"medmcqa/train.jsonl", McqFormat::kMedMcqa, 3000, 4},
                                           SharedCase{"casehold/test.jsonl", McqFormat::kCaseHold, 500, 5},
                                           SharedCase{"mathqa/test.json", McqFormat::kMathQa, 1000, 5},
                                           SharedCase{"mathqa/train.json", McqFormat::kMathQa, 3000, 5},
                                           SharedCase{"mmlu/test", McqFormat::kMmlu, 1026, 4},
                                           SharedCase{"freecodecamp-quiz/derived-jsonl/test.jsonl", McqFormat::kFreeCodeCamp, 400, 4},
                                           SharedCase{"mmlu/dev", McqFormat::kMmlu, 285, 4},
                                           SharedCase{"mmlu/test_code", McqFormat::kMmlu, 340, 4}));

TEST(FreeCodeCamp, PutsTheAnswerAmongItsDistractors) {
  std::string text;
  for (int i = 0; i < 400; ++i) {
    text += R"({"Question":"Question )" + std::to_string(i) +
            R"(?","Answer":"right","Distractor1":"x","Distractor2":"y","Distractor3":"z","Explanation":"because"})";
    text += "\n";
  }
  const McqSet set = Parse(text);
  EXPECT_EQ(set.questions.at(0).format, McqFormat::kFreeCodeCamp);
  ASSERT_EQ(set.questions.size(), 400u);
  std::vector<int> counts(4);
  for (const McqQuestion& question : set.questions) {
    ASSERT_EQ(question.options.size(), 4u);
    EXPECT_EQ(question.options[question.answer], "right");
    ++counts[question.answer];
  }
  // No place is favoured; 26 is three standard deviations.
  for (const int count : counts) EXPECT_NEAR(count, 100, 26);
  EXPECT_EQ(set.questions[0].explanation, "because");
  EXPECT_EQ(Parse(text).questions[7].answer, set.questions[7].answer);
}

TEST(FreeCodeCamp, NamesWhatIsMissing) {
  const McqSet set = Parse(R"({"Question":"Two?","Answer":"yes","Distractor1":"no"})"
                           "\n"
                           R"({"Question":"None?","Answer":"yes"})"
                           "\n"
                           R"({"Question":"Number?","Answer":3,"Distractor1":"no"})");
  ASSERT_EQ(set.questions.size(), 1u);
  EXPECT_EQ(set.questions[0].options.size(), 2u);
  ASSERT_EQ(set.bad.size(), 2u);
  EXPECT_THAT(set.bad[0].reason, HasSubstr("Distractor1"));
  EXPECT_THAT(set.bad[1].reason, HasSubstr("Answer"));
}

TEST(SharedAnswers, MedMcqaBalanceIsTheOneItsSourceStates) {
  const std::string shared = SharedDirectory();
  if (shared.empty()) GTEST_SKIP() << "no shared data; SWITCHYARD_SHARED names its folder";
  const auto set = ReadMcqFiles({shared + "/data/mcq/medmcqa/test.jsonl"}, McqFormat::kAuto);
  ASSERT_TRUE(set.ok());
  std::vector<int> counts(4);
  for (const McqQuestion& question : set->questions) ++counts[question.answer];
  EXPECT_THAT(counts, ElementsAre(319, 247, 242, 192));
}

}  // namespace
}  // namespace switchyard
