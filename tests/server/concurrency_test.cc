// Many clients at once, with random cancellations and deadlines: nothing hangs, nothing leaks, nobody gets another's answer.
#include <atomic>
#include <random>
#include <thread>

#include "tests/server/server_fixture.h"

namespace switchyard {
namespace {

class ConcurrencyTest : public ServerTest {
 protected:
  static constexpr int kClients = 64;
  static constexpr int kRequests = 12;
  static constexpr int kQuestions = 16;

  static v1::ScoreRequest Question(int i) {
    v1::ScoreRequest request = ScoreOfText("question " + std::string(1 + i * 3, 'x'), {" a", " the op", " ing"});
    request.set_id(std::to_string(i));
    return request;
  }

  // Answers computed one after the other, before the storm.
  void Prepare() {
    for (int i = 0; i < kQuestions; ++i) {
      v1::ScoreResponse response;
      ASSERT_TRUE(Score(Question(i), &response).ok());
      expected_.push_back(response);
    }
  }
  void ExpectAnswer(const v1::ScoreResponse& response) const {
    const v1::ScoreResponse& expected = expected_.at(std::stoul(response.id()));
    ASSERT_EQ(response.scores_size(), expected.scores_size());
    for (int s = 0; s < expected.scores_size(); ++s) EXPECT_EQ(response.scores(s).logprob(), expected.scores(s).logprob());
  }
  // What may happen to a request in a storm; anything else is a bug.
  static void ExpectFair(const grpc::Status& status) {
    const auto code = status.error_code();
    EXPECT_TRUE(code == grpc::OK || code == grpc::CANCELLED || code == grpc::DEADLINE_EXCEEDED || code == grpc::RESOURCE_EXHAUSTED)
        << code << " " << status.error_message();
  }

  void Client(uint32_t seed, v1::Inference::Stub* stub) const {
    std::mt19937 random(seed);
    for (int r = 0; r < kRequests; ++r) {
      grpc::ClientContext context;
      if (random() % 3 == 0) context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(random() % 40));
      const int cancel_after = random() % 3 == 0 ? static_cast<int>(random() % 10) : 1 << 30;
      const int question = static_cast<int>(random() % kQuestions);
      switch (random() % 4) {
        case 0: {
          auto reader = stub->Generate(&context, LongRequest(std::string(1 + random() % 40, 'y'), 1 + static_cast<int>(random() % 60)));
          int pieces = 0;
          for (v1::GenerateResponse piece; reader->Read(&piece);) {
            if (++pieces == cancel_after) context.TryCancel();
          }
          ExpectFair(reader->Finish());
          break;
        }
        case 1: {
          v1::ScoreResponse response;
          const grpc::Status status = stub->Score(&context, Question(question), &response);
          ExpectFair(status);
          if (status.ok()) ExpectAnswer(response);
          break;
        }
        case 2:
          Stream(&context, stub, cancel_after);
          break;
        default: {
          v1::RouteRequest request;
          request.set_text(Question(question).text());
          v1::RouteResponse response;
          const grpc::Status status = stub->Route(&context, request, &response);
          ExpectFair(status);
          if (status.ok()) {
            EXPECT_GT(response.routes().profile().rows(), 0u);
          }
        }
      }
    }
  }

  void Stream(grpc::ClientContext* context, v1::Inference::Stub* stub, int cancel_after) const {
    auto stream = stub->ScoreStream(context);
    for (int i = 0; i < kQuestions && stream->Write(Question(i)); ++i) {
    }
    stream->WritesDone();
    int answers = 0;
    for (v1::ScoreResponse response; stream->Read(&response);) {
      if (!response.has_error()) ExpectAnswer(response);
      if (++answers == cancel_after) context->TryCancel();
    }
    const grpc::Status status = stream->Finish();
    ExpectFair(status);
    if (status.ok()) {
      EXPECT_EQ(answers, kQuestions);
    }
  }

  std::vector<v1::ScoreResponse> expected_;
};

TEST_F(ConcurrencyTest, SixtyFourClientsWithRandomCancelsAndDeadlines) {
  ServerOptions options = TestOptions();
  options.engine.max_queued_tasks = 48;
  options.engine.max_step_tokens = 64;
  Start(options);
  Prepare();
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::vector<std::unique_ptr<v1::Inference::Stub>> stubs;
  for (int i = 0; i < 8; ++i) stubs.push_back(v1::Inference::NewStub(NewChannel()));
  std::vector<std::thread> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back([this, i, seed, stub = stubs[i % stubs.size()].get()] { Client(seed + i, stub); });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_TRUE(EverythingIsFree());
  v1::ScoreResponse response;
  ASSERT_TRUE(Score(Question(3), &response).ok());
  ExpectAnswer(response);
}

// The end of a server in the middle of everything: every call ends, with an answer or a reason.
TEST_F(ConcurrencyTest, ADrainInAStormEndsEveryCall) {
  Start();
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::vector<std::thread> clients;
  std::atomic<int> started = 0;
  for (int i = 0; i < 16; ++i) {
    clients.emplace_back([&, i] {
      auto stub = v1::Inference::NewStub(NewChannel());
      for (int r = 0; r < 20; ++r) {
        grpc::ClientContext context;
        auto reader = stub->Generate(&context, LongRequest(std::string(1 + (seed + i + r) % 30, 'z'), 40));
        ++started;
        bool received = false, finished = false;
        for (v1::GenerateResponse piece; reader->Read(&piece);) {
          received = true;
          finished = finished || piece.has_finish();
        }
        const grpc::Status status = reader->Finish();
        EXPECT_EQ(status.ok(), finished);
        // UNAVAILABLE from the engine; CANCELLED from gRPC for a call that arrives while the connections are being closed.
        const bool refused = status.error_code() == grpc::UNAVAILABLE || status.error_code() == grpc::CANCELLED;
        EXPECT_TRUE(status.ok() || (refused && !received)) << status.error_code() << " " << status.error_message();
      }
    });
  }
  while (started < 40) std::this_thread::yield();
  EXPECT_TRUE(server_->Drain([] { return false; }).ok());
  for (std::thread& client : clients) client.join();
  EXPECT_TRUE(EverythingIsFree());
}

}  // namespace
}  // namespace switchyard
