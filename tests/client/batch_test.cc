// Batches against a server in this process: order, bounds, retries, resuming, torn lines.
#include "client/batch.h"

#include <atomic>
#include <mutex>
#include <set>
#include <string>

#include "absl/synchronization/notification.h"
#include "client/connection.h"
#include "client/proto_json.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/client/client_testing.h"
#include "tests/client/fake_server.h"

namespace switchyard::client {
namespace {

using ::testing::HasSubstr;

std::string RequestLine(int i) {
  return R"({"id":"q)" + std::to_string(i) + R"(","text":"context","continuations":[{"text":" )" + std::to_string(i) +
         R"("},{"text":" b"}]})";
}

std::string Requests(int n) {
  std::string text;
  for (int i = 0; i < n; ++i) text += RequestLine(i) + "\n";
  return text;
}

// One batch of Score requests and what came of it.
class BatchTest : public ::testing::Test {
 protected:
  StatusOr<BatchOutcome> Run(FakeServer& server, int concurrency = 4) {
    Connection connection({server.address(), 60, 64});
    const BatchMethod method = {&v1::ScoreRequest::default_instance(), &v1::ScoreResponse::default_instance(),
                                [&](const google::protobuf::Message& request, google::protobuf::Message* response) {
                                  return connection.Score(static_cast<const v1::ScoreRequest&>(request),
                                                          static_cast<v1::ScoreResponse*>(response));
                                }};
    return RunBatch({dir_.File("in.jsonl"), dir_.File("out.jsonl"), concurrency, wait_.Policy(3)}, method, terminal_.terminal);
  }
  std::vector<std::string> Output() const { return Lines(ReadFile(dir_.File("out.jsonl"))); }
  static std::string Id(const std::string& line) { return nlohmann::json::parse(line).value("id", "?"); }

  TempDir dir_;
  FakeWait wait_;
  StringTerminal terminal_;
};

TEST_F(BatchTest, RepliesKeepTheOrderOfTheInputWhenTheFirstIsTheLastToAnswer) {
  dir_.Write("in.jsonl", Requests(12));
  absl::Notification release;
  std::atomic<int> others{0};
  FakeServer server({.score = [&](const v1::ScoreRequest& request) {
    if (request.id() == "q0")
      release.WaitForNotification();
    else if (++others == 11)
      release.Notify();
    return grpc::Status::OK;
  }});
  const auto outcome = Run(server);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->done, 12);
  EXPECT_EQ(outcome->failed, 0);
  const auto lines = Output();
  ASSERT_EQ(lines.size(), 12u);
  for (int i = 0; i < 12; ++i) {
    v1::ScoreResponse response;
    ASSERT_TRUE(FromJson(lines[i], &response).ok());
    EXPECT_EQ(response.id(), "q" + std::to_string(i));
    EXPECT_EQ(response.scores(0).logprob(), FakeServer::LogProb("context", " " + std::to_string(i)));
  }
}

TEST_F(BatchTest, ConcurrencyIsReachedAndNeverExceeded) {
  dir_.Write("in.jsonl", Requests(30));
  absl::Notification three_are_here;
  std::atomic<int> arrived{0};
  FakeServer server({.score = [&](const v1::ScoreRequest&) {
    if (++arrived == 3) three_are_here.Notify();
    three_are_here.WaitForNotification();  // the first three are only answered together
    return grpc::Status::OK;
  }});
  ASSERT_TRUE(Run(server, 3).ok());
  EXPECT_EQ(server.most_in_flight(), 3);
  EXPECT_EQ(Output().size(), 30u);
}

TEST_F(BatchTest, ABadRequestBecomesAnErrorLineAndTheRestIsAnswered) {
  dir_.Write("in.jsonl", RequestLine(0) + "\n\n{\"id\":\"odd\",\"frob\":1}\nnot json\n" + RequestLine(3) + "\n" + RequestLine(4));
  FakeServer server({.score = [](const v1::ScoreRequest& request) {
    return request.id() == "q3" ? grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "too long: 9000 of 8192") : grpc::Status::OK;
  }});
  const auto outcome = Run(server);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->requests, 5);
  EXPECT_EQ(outcome->failed, 3);
  const auto lines = Output();
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_EQ(Id(lines[0]), "q0");
  EXPECT_THAT(lines[1], HasSubstr(R"({"id":"odd","error":{"code":3,"message":"line 3: not a ScoreRequest)"));
  EXPECT_THAT(lines[2], HasSubstr(R"({"id":"","error":{"code":3,"message":"line 4: )"));
  EXPECT_EQ(lines[3], R"({"id":"q3","error":{"code":3,"message":"too long: 9000 of 8192"}})");
  EXPECT_EQ(Id(lines[4]), "q4");
}

TEST_F(BatchTest, AFullServerIsAskedAgain) {
  dir_.Write("in.jsonl", Requests(5));
  std::mutex mutex;
  std::set<std::string> refused;
  FakeServer server({.score = [&](const v1::ScoreRequest& request) {
    const std::lock_guard<std::mutex> lock(mutex);
    return refused.insert(request.id()).second ? grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "queue is full") : grpc::Status::OK;
  }});
  const auto outcome = Run(server, 1);
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome->failed, 0);
  EXPECT_EQ(server.score_calls(), 10);
  EXPECT_EQ(wait_.waits().size(), 5u);
}

TEST_F(BatchTest, AServerThatStaysFullGetsAnErrorLine) {
  dir_.Write("in.jsonl", Requests(1));
  FakeServer server({.score = [](const v1::ScoreRequest&) { return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "queue is full"); }});
  const auto outcome = Run(server, 1);
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome->failed, 1);
  EXPECT_EQ(server.score_calls(), 4);
  EXPECT_EQ(Output().at(0), R"({"id":"q0","error":{"code":8,"message":"queue is full"}})");
}

TEST_F(BatchTest, AServerThatGoesAwayStopsTheBatchAndTheNextRunGoesOn) {
  dir_.Write("in.jsonl", Requests(20));
  {
    FakeServer server({.score = [](const v1::ScoreRequest& request) {
      return std::stoi(request.id().substr(1)) >= 7 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "draining") : grpc::Status::OK;
    }});
    const auto outcome = Run(server);
    ASSERT_TRUE(outcome.ok());
    EXPECT_EQ(outcome->stopped.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(outcome->done, 7);
    EXPECT_EQ(Output().size(), 7u);
  }
  FakeServer server;
  const auto outcome = Run(server);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->resumed, 7);
  EXPECT_EQ(outcome->done, 13);
  EXPECT_EQ(server.score_calls(), 13);
  const auto lines = Output();
  ASSERT_EQ(lines.size(), 20u);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(Id(lines[i]), "q" + std::to_string(i));
}

TEST_F(BatchTest, ATornLastLineIsDroppedAndAnsweredAgain) {
  dir_.Write("in.jsonl", Requests(4));
  FakeServer server;
  ASSERT_TRUE(Run(server).ok());
  const std::string whole = ReadFile(dir_.File("out.jsonl"));
  // Cut everywhere inside the last two lines: each time the second run must restore the same file.
  const size_t third = whole.find('\n', whole.find('\n') + 1) + 1;
  for (size_t cut = third; cut < whole.size(); cut += 37) {
    dir_.Write("out.jsonl", whole.substr(0, cut));
    const auto outcome = Run(server);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_EQ(ReadFile(dir_.File("out.jsonl")), whole) << cut;
  }
}

TEST_F(BatchTest, EarlierErrorLinesAreKeptAndCounted) {
  dir_.Write("in.jsonl", Requests(2));
  dir_.Write("out.jsonl", "{\"id\":\"q0\",\"error\":{\"code\":3,\"message\":\"no\"}}\n");
  FakeServer server;
  const auto outcome = Run(server);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->resumed, 1);
  EXPECT_EQ(outcome->failed, 1);
  EXPECT_EQ(server.score_calls(), 1);
}

TEST_F(BatchTest, AnOutputOfAnotherInputIsRefusedAndLeftAlone) {
  dir_.Write("in.jsonl", Requests(2));
  FakeServer server;
  const std::pair<std::string, const char*> cases[] = {
      {"{\"id\":\"other\"}\n", "out.jsonl:1: expected the id \"q0\" of the request, found \"other\""},
      {"{\"id\":\"q0\"}\n{\"id\":\"q1\"}\n{\"id\":\"q2\"}\n", "more lines than the input has requests (2)"},
      {"{\"id\":\"q0\",\"text\":1}\n", "out.jsonl:1: not a ScoreResponse"},
      {"garbage\n", "out.jsonl:1: not JSON"}};
  for (const auto& [content, message] : cases) {
    dir_.Write("out.jsonl", content);
    const auto outcome = Run(server);
    ASSERT_FALSE(outcome.ok()) << content;
    EXPECT_THAT(std::string(Message(outcome.status())), HasSubstr(message));
    EXPECT_EQ(ReadFile(dir_.File("out.jsonl")), content);
  }
  EXPECT_EQ(server.score_calls(), 0);
}

TEST_F(BatchTest, FilesThatCannotBeUsedAreNamed) {
  FakeServer server;
  EXPECT_THAT(std::string(Message(Run(server).status())), HasSubstr("in.jsonl: cannot be read"));
  dir_.Write("in.jsonl", Requests(1));
  std::filesystem::create_hard_link(dir_.File("in.jsonl"), dir_.File("out.jsonl"));
  EXPECT_THAT(std::string(Message(Run(server).status())), HasSubstr("same file"));
}

}  // namespace
}  // namespace switchyard::client
