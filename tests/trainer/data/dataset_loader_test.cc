#include "trainer/data/dataset_loader.h"

#include "engine/text/lm_eval_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/trainer/data/data_testing.h"

namespace switchyard::trainer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int32_t kEos = 2;

Dataset Load(const DataOptions& options) {
  auto dataset = LoadDataset(options, *SmallTokenizer());
  EXPECT_TRUE(dataset.ok()) << dataset.status();
  return dataset.ok() ? *std::move(dataset) : Dataset{};
}

std::string Error(const DataOptions& options) {
  const auto dataset = LoadDataset(options, *SmallTokenizer());
  return dataset.ok() ? "" : std::string(Message(dataset.status()));
}

TEST(TargetTest, TextShowsNoOptionsAndLetterShowsThem) {
  TempDir dir;
  const std::string file = dir.Write("q.jsonl", QuestionLine(1));
  const Dataset text = Load(OneSource(file));
  ASSERT_EQ(text.examples.size(), 1u);
  EXPECT_EQ(PromptText(text.examples[0]), "Question: What is number 1?\nAnswer:");
  EXPECT_EQ(AnswerText(text.examples[0]), " green");
  const Dataset letter = Load(OneSource(file, Target::kLetter));
  EXPECT_EQ(PromptText(letter.examples[0]), "Question: What is number 1?\nA. red 1\nB. green\nC. blue\nAnswer:");
  EXPECT_EQ(AnswerText(letter.examples[0]), " B");
  const Dataset both = Load(OneSource(file, Target::kBoth));
  ASSERT_EQ(both.examples.size(), 2u);
  EXPECT_EQ(both.examples[0].tokens, text.examples[0].tokens);
  EXPECT_EQ(both.examples[1].tokens, letter.examples[0].tokens);
}

TEST(TargetTest, Dense2MoeHasLetterTextAndExplanation) {
  TempDir dir;
  const std::string file = dir.Write("q.jsonl", R"({"question":"Q?","options":["one","two"],"answer":1,"explanation":"Because."})");
  const Dataset dataset = Load(OneSource(file, Target::kDense2Moe));
  ASSERT_EQ(dataset.examples.size(), 1u);
  EXPECT_THAT(PromptText(dataset.examples[0]), HasSubstr("Question: Q?\nA. one\nB. two"));
  // The blank lines at the prompt's end are the continuation's, as they are when the server judges.
  EXPECT_EQ(AnswerText(dataset.examples[0]), "\n\nAnswer: B. two\n\nExplanation: Because.<|eot_id|>");
}

TEST(TargetTest, ATemplateFileChangesThePrompt) {
  TempDir dir;
  DataOptions options = OneSource(dir.Write("q.jsonl", QuestionLine(2)));
  const auto templates = ReadTemplates(dir.Write("t.txt", "=== text ===\nQ> {question}\nA>\n"));
  ASSERT_TRUE(templates.ok()) << templates.status();
  options.templates = *templates;
  EXPECT_EQ(PromptText(Load(options).examples.at(0)), "Q> What is number 2?\nA>");
}

TEST(TargetTest, TheTemplateThatIsShippedIsSound) {
  TempDir dir;
  DataOptions options = OneSource(dir.Write("q.jsonl", QuestionLine(2)), Target::kLetter);
  const auto templates = ReadTemplates("trainer/templates/chatml.txt");
  ASSERT_TRUE(templates.ok()) << templates.status();
  options.templates = *templates;
  EXPECT_EQ(PromptText(Load(options).examples.at(0)),
            "<|im_start|>user\nWhat is number 2?\nA. red 2\nB. green\nC. blue\nAnswer with A, B or C.<|im_end|>\n"
            "<|im_start|>assistant\nThe answer is");
}

TEST(TargetTest, NamesAreChecked) {
  EXPECT_EQ(*ParseTarget("dense2moe"), Target::kDense2Moe);
  EXPECT_EQ(*ParseTarget("both"), Target::kBoth);
  EXPECT_FALSE(ParseTarget("Text").ok());
}

constexpr char kChat[] =
    R"({"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello you."}]})";

DataOptions ChatSource(const TempDir& dir, const std::string& path) {
  DataOptions options = OneSource(path);
  dir.Write("chat_template.jinja",
            "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}");
  const auto chat_template = ChatTemplate::Load(dir.File(""));
  EXPECT_TRUE(chat_template.ok()) << chat_template.status();
  options.chat_template = *chat_template;
  return options;
}

TEST(ChatTest, IsWrittenByTheTemplateAndItsLastMessageIsLearned) {
  TempDir dir;
  DataOptions options = ChatSource(dir, dir.Write("c.jsonl", std::string(kChat) + "\n"));
  const Dataset dataset = Load(options);
  ASSERT_EQ(dataset.examples.size(), 1u);
  EXPECT_EQ(PromptText(dataset.examples[0]),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(AnswerText(dataset.examples[0]), "Hello you.<|im_end|>");
  options.append_eos = false;
  EXPECT_EQ(AnswerText(Load(options).examples.at(0)), "Hello you.");
}

TEST(ChatTest, WhatCannotBeUsedIsNamed) {
  TempDir dir;
  const std::string file = dir.Write("c.jsonl", std::string(kChat) + "\n" +
                                                    R"({"messages":[{"role":"user","content":"Hi"}]})"
                                                    "\n" +
                                                    R"({"messages":[{"role":"assistant","content":"a"},{"role":"user","content":"b"}]})"
                                                    "\n" +
                                                    R"({"messages":["a","b"]})"
                                                    "\n" +
                                                    R"({"messages":[{"role":"user","content":"b"},{"role":"assistant","content":" "}]})"
                                                    "\n");
  const Dataset dataset = Load(ChatSource(dir, file));
  EXPECT_EQ(dataset.examples.size(), 1u);
  ASSERT_EQ(dataset.bad.size(), 4u);
  EXPECT_THAT(dataset.bad[0].reason, HasSubstr("expected at least two, found 1"));
  EXPECT_THAT(dataset.bad[1].reason, HasSubstr("must be the assistant's, found \"user\""));
  EXPECT_THAT(dataset.bad[2].reason, HasSubstr("expected objects, found string"));
  EXPECT_THAT(dataset.bad[3].reason, HasSubstr("the last one is empty"));
  EXPECT_EQ(dataset.bad[3].line, 5);
}

TEST(ChatTest, NeedsATemplate) {
  TempDir dir;
  EXPECT_THAT(Error(OneSource(dir.Write("c.jsonl", std::string(kChat) + "\n"))), HasSubstr("a chat, and this model has no chat template"));
}

TEST(PairsTest, AreTakenAsTheyStandAndEndInEos) {
  TempDir dir;
  DataOptions options = OneSource(dir.Write("p.jsonl", R"({"prompt":"2 + 2 =","answer":" 4"})"));
  EXPECT_THAT(Error(options), HasSubstr("this model names none"));
  options.eos_token = kEos;
  const Dataset dataset = Load(options);
  ASSERT_EQ(dataset.examples.size(), 1u);
  EXPECT_EQ(PromptText(dataset.examples[0]), "2 + 2 =");
  options.append_eos = false;
  const Dataset open = Load(options);
  EXPECT_EQ(open.examples[0].tokens.size() + 1, dataset.examples[0].tokens.size());
  EXPECT_EQ(AnswerText(open.examples[0]), " 4");
  EXPECT_NE(open.fingerprint, dataset.fingerprint);
}

TEST(PairsTest, AnEmptyPromptIsTheBeginningOfText) {
  TempDir dir;
  DataOptions options = OneSource(dir.Write("p.jsonl", R"({"prompt":"","answer":"Once upon"})"));
  options.append_eos = false;
  EXPECT_THAT(Error(options), HasSubstr("names neither"));
  options.eos_token = kEos;
  options.bos_token = 1;
  const Dataset dataset = Load(options);
  ASSERT_EQ(dataset.examples.size(), 1u);
  EXPECT_EQ(dataset.examples[0].answer_begin, 1);
  EXPECT_EQ(dataset.examples[0].tokens[0], 1);
  EXPECT_EQ(AnswerText(dataset.examples[0]), "Once upon");
}

TEST(EosTest, QuestionsEndInItOnlyWhenAsked) {
  TempDir dir;
  DataOptions options = OneSource(dir.Write("q.jsonl", QuestionLine(1)));
  options.eos_token = kEos;
  EXPECT_NE(Load(options).examples.at(0).tokens.back(), kEos);
  options.append_eos = true;
  EXPECT_EQ(Load(options).examples.at(0).tokens.back(), kEos);
}

TEST(BadLineTest, NothingIsDroppedInSilence) {
  TempDir dir;
  std::string lines = QuestionLine(0) + "{broken\n" + R"({"question":"Q","options":["a"],"answer":0})" + "\n" + QuestionLine(1);
  lines += R"({"question":")";
  for (int i = 0; i < 200; ++i) lines += "very ";
  lines += R"(long?","options":["a","b"],"answer":0})";
  DataOptions options = OneSource(dir.Write("q.jsonl", lines));
  options.max_tokens = 100;
  const Dataset dataset = Load(options);
  EXPECT_EQ(dataset.examples.size(), 2u);
  EXPECT_EQ(dataset.over_long, 1);
  std::vector<int64_t> numbers;
  for (const BadLine& bad : dataset.bad) numbers.push_back(bad.line);
  EXPECT_THAT(numbers, ElementsAre(2, 3, 5));
  EXPECT_EQ(dataset.bad[0].file, options.sources[0].paths[0]);
  EXPECT_THAT(dataset.bad[0].reason, HasSubstr("not JSON"));
  EXPECT_THAT(dataset.bad[1].reason, HasSubstr("2 to 26 options"));
  EXPECT_THAT(dataset.bad[2].reason, HasSubstr("the limit is 100"));
  const std::string report = DescribeDataset(dataset, 2);
  EXPECT_THAT(report, HasSubstr("colours: 2 examples"));
  EXPECT_THAT(report, HasSubstr("left out: 1 too long, 2 that cannot be used"));
  EXPECT_THAT(report, HasSubstr("q.jsonl:2: "));
  EXPECT_THAT(report, HasSubstr("and 1 more"));
}

TEST(BadLineTest, BadPairsAreNamed) {
  TempDir dir;
  DataOptions options = OneSource(dir.Write("p.jsonl",
                                            "{\"prompt\":\"a\",\"answer\":\" b\"}\n{\"prompt\":\"a\"}\n{\"prompt\":1,\"answer\":\"b\"}\n"
                                            "{\"prompt\":\"a\",\"answer\":\" \"}\n[]\n"));
  options.append_eos = false;
  const Dataset dataset = Load(options);
  EXPECT_EQ(dataset.examples.size(), 1u);
  ASSERT_EQ(dataset.bad.size(), 4u);
  EXPECT_THAT(dataset.bad[0].reason, HasSubstr("\"answer\" is missing"));
  EXPECT_THAT(dataset.bad[1].reason, HasSubstr("expected a string"));
  EXPECT_THAT(dataset.bad[2].reason, HasSubstr("empty"));
  EXPECT_THAT(dataset.bad[3].reason, HasSubstr("expected a JSON object"));
}

TEST(SourcesTest, DomainsAreNumberedInTheOrderTheyAreNamedAndJoinedByName) {
  TempDir dir;
  const std::string a = dir.Write("a.jsonl", QuestionLine(0)), b = dir.Write("b.csv", "Which?,w,x,y,z,D\n");
  const std::string c = dir.Write("c.jsonl", QuestionLine(2));
  DataOptions options;
  options.sources = {{"one", {a}, "jsonl"}, {"two", {b}, "mmlu"}, {"one", {c}, "auto"}};
  const Dataset dataset = Load(options);
  EXPECT_THAT(dataset.domains, ElementsAre("one", "two"));
  std::vector<int32_t> domains;
  for (const Example& example : dataset.examples) domains.push_back(example.domain);
  EXPECT_THAT(domains, ElementsAre(0, 1, 0));
  EXPECT_EQ(AnswerText(dataset.examples[1]), " z");
}

TEST(SourcesTest, MistakesAreNamed) {
  TempDir dir;
  const std::string good = dir.Write("a.jsonl", QuestionLine(0));
  EXPECT_THAT(Error({}), HasSubstr("at least one source"));
  EXPECT_THAT(Error(OneSource(dir.File("missing.jsonl"))), HasSubstr("domain colours: "));
  EXPECT_THAT(Error(OneSource(dir.Write("bad.jsonl", "{\"question\":\"Q\",\"options\":[],\"answer\":0}\n"))), HasSubstr("bad.jsonl:1: "));
  DataOptions options = OneSource(good);
  options.sources[0].format = "csv";
  EXPECT_THAT(Error(options), HasSubstr("found \"csv\""));
  options = OneSource(good);
  options.sources[0].domain = "";
  EXPECT_THAT(Error(options), HasSubstr("without a domain's name"));
  options = OneSource(good);
  options.max_tokens = 5;
  EXPECT_THAT(Error(options), HasSubstr("no example is left"));
  options.max_tokens = 1;
  EXPECT_THAT(Error(options), HasSubstr("max_tokens: expected at least 2"));
}

TEST(FingerprintTest, ChangesWithWhatIsTrained) {
  TempDir dir;
  const Dataset dataset = Load(OneSource(dir.Write("a.jsonl", QuestionLines(3))));
  EXPECT_EQ(dataset.fingerprint.size(), 64u);
  EXPECT_EQ(Load(OneSource(dir.Write("same.jsonl", QuestionLines(3)))).fingerprint, dataset.fingerprint);
  const std::string swapped = dir.Write("swapped.jsonl", QuestionLine(1) + QuestionLine(0) + QuestionLine(2));
  EXPECT_NE(Load(OneSource(swapped)).fingerprint, dataset.fingerprint);
  DataOptions renamed = OneSource(dir.File("a.jsonl"));
  renamed.sources[0].domain = "shapes";
  EXPECT_NE(Load(renamed).fingerprint, dataset.fingerprint);
}

// What is trained must be what the server scores: its rule, applied by hand.
TEST(BoundaryTest, IsTheOneOfTheServersScore) {
  const auto tokenizer = SmallTokenizer();
  for (const std::string context : {"Question: Who?\nAnswer:", "The colour is ", "Line\n\n", "x = \xE3\x80\x80", "Answer"}) {
    for (const std::string continuation : {" red", "ing on", "\n", "4"}) {
      const auto prepared = PrepareLmEval(*tokenizer, context, std::nullopt);
      ASSERT_TRUE(prepared.ok()) << prepared.status();
      const auto split = SplitLmEval(*tokenizer, *prepared, continuation);
      std::string stripped = context;
      while (!stripped.empty() && (stripped.back() == ' ' || stripped.back() == '\n')) stripped.pop_back();
      if (stripped.ends_with("\xE3\x80\x80")) stripped.resize(stripped.size() - 3);
      while (!stripped.empty() && stripped.back() == ' ') stripped.pop_back();
      const auto alone = *tokenizer->Encode(stripped, false);
      const auto whole = *tokenizer->Encode(context + continuation, false);
      if (whole.size() <= alone.size()) {
        EXPECT_FALSE(split.ok()) << context << "|" << continuation;
        continue;
      }
      ASSERT_TRUE(split.ok()) << split.status();
      EXPECT_EQ(split->context, alone);
      EXPECT_EQ(split->continuation, std::vector<int32_t>(whole.begin() + static_cast<std::ptrdiff_t>(alone.size()), whole.end()));
    }
  }
}

TEST(SharedData, TheTrainingPartsLoadWhole) {
  const std::string shared = SharedDirectory();
  if (shared.empty()) GTEST_SKIP() << "no shared data; SWITCHYARD_SHARED names its folder";
  DataOptions options;
  options.sources = {{"medicine", {shared + "/data/mcq/medmcqa/train.jsonl"}, "auto"},
                     {"law", {shared + "/data/mcq/casehold/train.jsonl"}, "auto"},
                     {"mathematics", {shared + "/data/mcq/mathqa/train.json"}, "auto"}};
  options.max_records = 300;
  options.max_tokens = 4096;
  for (const Target target : {Target::kText, Target::kDense2Moe}) {
    options.target = target;
    const Dataset dataset = Load(options);
    EXPECT_EQ(dataset.examples.size(), 900u) << DescribeDataset(dataset);
    EXPECT_TRUE(dataset.bad.empty()) << DescribeDataset(dataset);
  }
}

}  // namespace
}  // namespace switchyard::trainer
