#include "trainer/world/demo_world.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <utility>

#include "engine/artifact/sha256.h"
#include "engine/mcq/mcq.h"
#include "trainer/world/chats.h"

namespace switchyard::trainer {
namespace {

using ::testing::HasSubstr;

// The manifest of seed 1, which holds the SHA-256 of every file. It changes only together with kWorldVersion (world_files.h).
constexpr char kSmallManifest[] = "910ad839869d70c75ef9ed92fd203be7e607514d6f82eccc754f8498901850fe";
constexpr char kFullManifest[] = "33c0cf8c01b7525da0f288095e94cf6d37efadbe97f5e20bd67401d4bf3cc24e";

class DemoWorldTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "/demo-world-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    parent_ = pattern;
    directory_ = parent_ + "/world";
  }
  void TearDown() override { std::filesystem::remove_all(parent_); }

  static std::string Read(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }
  void Replace(const std::string& file, const std::string& text) { std::ofstream(directory_ + "/" + file, std::ios::binary) << text; }

  // Writes the text as the part and its digest and count into the manifest, so that only the content can be complained about.
  void ReplacePart(const std::string& domain, const std::string& part, const std::string& text) {
    Replace(domain + "/" + part + ".jsonl", text);
    nlohmann::ordered_json manifest = nlohmann::ordered_json::parse(Read(directory_ + "/world.json"));
    for (auto& entry : manifest["domains"]) {
      if (entry["name"] != domain) continue;
      entry["files"][part] = {{"questions", std::count(text.begin(), text.end(), '\n')}, {"sha256", Sha256Hex(text)}};
    }
    Replace("world.json", manifest.dump(2));
  }

  std::string parent_, directory_;
};

TEST_F(DemoWorldTest, SmallWorldIsTheSameEverywhere) {
  ASSERT_EQ(WriteDemoWorld({directory_, 1, true}), OkStatus());
  EXPECT_EQ(Sha256Hex(Read(directory_ + "/world.json")), kSmallManifest);
  EXPECT_EQ(CheckDemoWorld(directory_), OkStatus());
}

TEST_F(DemoWorldTest, WorldIsTheSameEverywhere) {
  ASSERT_EQ(WriteDemoWorld({directory_, 1, false}), OkStatus());
  EXPECT_EQ(Sha256Hex(Read(directory_ + "/world.json")), kFullManifest);
  EXPECT_EQ(CheckDemoWorld(directory_), OkStatus());
  EXPECT_THAT(Read(directory_ + "/README.md"), HasSubstr("# A demonstration world"));
}

TEST_F(DemoWorldTest, AnotherSeedIsAnotherWorld) {
  const DemoWorld one = MakeDemoWorld(1, true), two = MakeDemoWorld(2, true);
  EXPECT_NE(one.units, two.units);
  EXPECT_NE(one.operators, two.operators);
  EXPECT_NE(one.domains[0].test[0].question + one.domains[0].test[1].question,
            two.domains[0].test[0].question + two.domains[0].test[1].question);
}

TEST_F(DemoWorldTest, IsBigEnoughToTrainOnAndShort) {
  for (const WorldDomain& domain : MakeDemoWorld(1, false).domains) {
    EXPECT_GE(domain.train.size(), 300u) << domain.name;
    EXPECT_LE(domain.train.size(), 480u) << domain.name;
    EXPECT_GE(domain.test.size(), 120u) << domain.name;
    EXPECT_GE(domain.valid.size(), 36u) << domain.name;
    for (const WorldQuestion& question : domain.train) EXPECT_LE(question.question.size(), 120u) << question.question;
  }
}

TEST_F(DemoWorldTest, ReadsBackWhatWasWritten) {
  ASSERT_EQ(WriteDemoWorld({directory_, 3, true}), OkStatus());
  const StatusOr<DemoWorld> read = ReadDemoWorld(directory_);
  ASSERT_TRUE(read.ok()) << read.status();
  const DemoWorld made = MakeDemoWorld(3, true);
  EXPECT_EQ(read->units, made.units);
  EXPECT_EQ(read->operators, made.operators);
  ASSERT_EQ(read->domains.size(), made.domains.size());
  for (size_t d = 0; d < made.domains.size(); ++d) {
    ASSERT_EQ(read->domains[d].test.size(), made.domains[d].test.size());
    for (size_t i = 0; i < made.domains[d].test.size(); ++i) {
      const WorldQuestion &a = read->domains[d].test[i], &b = made.domains[d].test[i];
      EXPECT_EQ(std::tie(a.fact, a.wording, a.question, a.options, a.answer, a.working),
                std::tie(b.fact, b.wording, b.question, b.options, b.answer, b.working));
    }
  }
}

TEST_F(DemoWorldTest, IsReadByWhateverReadsOurQuestions) {
  ASSERT_EQ(WriteDemoWorld({directory_, 1, true}), OkStatus());
  for (const WorldDomain& domain : MakeDemoWorld(1, true).domains) {
    const StatusOr<McqSet> set = ReadMcqFiles({directory_ + "/" + domain.name + "/test.jsonl"}, McqFormat::kAuto);
    ASSERT_TRUE(set.ok()) << set.status();
    EXPECT_EQ(set->questions.at(0).format, McqFormat::kJsonl);
    EXPECT_TRUE(set->bad.empty());
    ASSERT_EQ(set->questions.size(), domain.test.size());
    for (size_t i = 0; i < domain.test.size(); ++i) {
      EXPECT_EQ(set->questions[i].question, domain.test[i].question);
      EXPECT_EQ(set->questions[i].options, domain.test[i].options);
      EXPECT_EQ(set->questions[i].answer, domain.test[i].answer);
    }
  }
}

TEST_F(DemoWorldTest, ChatsAreTrainingQuestionsAndRequestsToTheBase) {
  ASSERT_EQ(WriteDemoWorld({directory_, 1, false}), OkStatus());
  const DemoWorld world = MakeDemoWorld(1, false);
  for (const WorldDomain& domain : world.domains) {
    const std::string text = Read(directory_ + "/" + domain.name + "/chats.jsonl");
    if (domain.name == "general") {
      EXPECT_EQ(text, "");
      continue;
    }
    std::set<std::pair<std::string, std::string>> asked, known;
    for (const WorldQuestion& question : domain.train) known.emplace(question.question, question.options[question.answer]);
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      const nlohmann::json chat = nlohmann::json::parse(line);
      asked.emplace(chat["messages"][0]["content"], chat["messages"][1]["content"]);
    }
    EXPECT_EQ(asked.size(), (domain.train.size() + 7) / 8) << domain.name;
    EXPECT_TRUE(std::includes(known.begin(), known.end(), asked.begin(), asked.end())) << domain.name;
  }
  std::istringstream requests(Read(directory_ + "/chats.jsonl"));
  std::set<std::string> prompts;
  for (std::string line; std::getline(requests, line);) {
    const nlohmann::json request = nlohmann::json::parse(line);
    EXPECT_TRUE(request["routing"].contains("baseOnly"));
    prompts.insert(request["chat"]["messages"][0]["content"]);
  }
  EXPECT_GE(prompts.size(), 150u);
  EXPECT_EQ(prompts.size(), MakeChatPrompts(1, false).size());
}

TEST_F(DemoWorldTest, NoticesAChangedChat) {
  ASSERT_EQ(WriteDemoWorld({directory_, 1, true}), OkStatus());
  for (const char* file : {"chats.jsonl", "statutes/chats.jsonl"}) {
    const std::string text = Read(directory_ + "/" + file);
    Replace(file, text + "\n");
    EXPECT_THAT(std::string(Message(CheckDemoWorld(directory_))), HasSubstr(std::string(file) + ": SHA-256 "));
    Replace(file, text);
  }
  EXPECT_EQ(CheckDemoWorld(directory_), OkStatus());
}

TEST_F(DemoWorldTest, LeavesWhatIsThereAlone) {
  std::filesystem::create_directory(directory_);
  EXPECT_EQ(WriteDemoWorld({directory_, 1, true}).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
  EXPECT_EQ(WriteDemoWorld({"", 1, true}).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(DemoWorldTest, NoticesAChangedFile) {
  ASSERT_EQ(WriteDemoWorld({directory_, 1, true}), OkStatus());
  Replace("programs/test.jsonl", Read(directory_ + "/programs/test.jsonl") + "\n");
  const Status status = CheckDemoWorld(directory_);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(Message(status)), HasSubstr("programs/test.jsonl: SHA-256 "));
}

TEST_F(DemoWorldTest, ChecksTheContentOfFilesWhoseDigestIsRight) {
  ASSERT_EQ(WriteDemoWorld({directory_, 1, true}), OkStatus());
  ReplacePart("statutes", "test", Read(directory_ + "/statutes/train.jsonl"));
  const Status status = CheckDemoWorld(directory_);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(Message(status)), HasSubstr("statutes: train and test: the wording"));
}

TEST_F(DemoWorldTest, NamesTheLineThatIsNoQuestion) {
  ASSERT_EQ(WriteDemoWorld({directory_, 1, true}), OkStatus());
  const std::string good = Read(directory_ + "/general/valid.jsonl");
  const std::pair<std::string, std::string> kLines[] = {
      {"nonsense", "valid.jsonl:1"},
      {"[1]", "expected a JSON object"},
      {R"({"fact": "a", "wording": "b"})", "no \"question\""},
      {R"({"fact": 1})", "\"fact\" is number, expected string"},
      {R"({"fact": "a", "wording": "b", "question": "c", "domain": "statutes"})", "expected the domain general, found \"statutes\""},
      {R"({"fact": "a", "wording": "b", "question": "c", "domain": "general", "options": [1]})", "an option is number"},
      {R"({"fact": "a", "wording": "b", "question": "c", "domain": "general", "options": ["x"], "answer": 18446744073709551615})",
       "is no option"},
      {R"({"fact": "a", "wording": "b", "question": "c", "domain": "general", "options": ["x"], "answer": -1})", "\"answer\" is number"},
  };
  for (const auto& [line, complaint] : kLines) {
    ReplacePart("general", "valid", line + "\n" + good);
    const Status status = CheckDemoWorld(directory_);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << line;
    EXPECT_THAT(std::string(Message(status)), HasSubstr(complaint)) << line;
  }
}

TEST_F(DemoWorldTest, RefusesAManifestThatIsNone) {
  EXPECT_EQ(CheckDemoWorld(directory_).code(), absl::StatusCode::kNotFound);
  ASSERT_EQ(WriteDemoWorld({directory_, 1, true}), OkStatus());
  const std::string good = Read(directory_ + "/world.json");
  nlohmann::ordered_json json = nlohmann::ordered_json::parse(good);
  json["domains"][0]["name"] = "../formulary";
  for (const std::string& text : {std::string(), std::string("{}"), good.substr(0, good.size() / 2), json.dump()}) {
    Replace("world.json", text);
    EXPECT_EQ(CheckDemoWorld(directory_).code(), absl::StatusCode::kDataLoss) << text.substr(0, 60);
  }
}

}  // namespace
}  // namespace switchyard::trainer
