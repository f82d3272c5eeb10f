// ScoreStream: many questions over one stream.
#include <map>
#include <thread>

#include "tests/server/server_fixture.h"

namespace switchyard {
namespace {

class ScoreStreamTest : public ServerTest {
 protected:
  static v1::ScoreRequest Question(int i) {
    v1::ScoreRequest request = ScoreOfText("question " + std::string(1 + i % 7, 'x'), {" a", " the op"});
    request.set_id(std::to_string(i));
    return request;
  }
};

TEST_F(ScoreStreamTest, AnswersEveryQuestionOnceUnderItsIdAndBadOnesInline) {
  Start();
  grpc::ClientContext context;
  auto stream = stub_->ScoreStream(&context);
  constexpr int kQuestions = 300;
  std::thread writer([&] {
    for (int i = 0; i < kQuestions; ++i) {
      v1::ScoreRequest request = Question(i);
      if (i % 10 == 3) request.mutable_routing()->set_forced_expert("astrology");
      ASSERT_TRUE(stream->Write(request));
    }
    stream->WritesDone();
  });
  std::map<std::string, v1::ScoreResponse> answers;
  for (v1::ScoreResponse response; stream->Read(&response);) {
    EXPECT_TRUE(answers.emplace(response.id(), response).second) << response.id();
  }
  writer.join();
  EXPECT_TRUE(stream->Finish().ok());
  ASSERT_EQ(answers.size(), static_cast<size_t>(kQuestions));
  for (int i = 0; i < kQuestions; ++i) {
    const v1::ScoreResponse& answer = answers.at(std::to_string(i));
    if (i % 10 == 3) {
      EXPECT_EQ(answer.error().code(), grpc::NOT_FOUND);
      EXPECT_THAT(answer.error().message(), ::testing::HasSubstr("astrology"));
      continue;
    }
    v1::ScoreResponse alone;
    ASSERT_TRUE(Score(Question(i), &alone).ok());
    EXPECT_FALSE(answer.has_error());
    ASSERT_EQ(answer.scores_size(), 2);
    for (int s = 0; s < 2; ++s) EXPECT_EQ(answer.scores(s).logprob(), alone.scores(s).logprob());
  }
  EXPECT_TRUE(EverythingIsFree());
}

TEST_F(ScoreStreamTest, WorksOnABoundedNumberOfQuestionsAtATime) {
  ServerOptions options = TestOptions();
  options.limits.max_stream_in_flight = 3;
  Start(options);
  runner_->Hold();
  grpc::ClientContext context;
  auto stream = stub_->ScoreStream(&context);
  for (int i = 0; i < 12; ++i) ASSERT_TRUE(stream->Write(Question(i)));
  stream->WritesDone();
  runner_->WaitUntilHeld();
  while (engine_->stats().running_tasks + engine_->stats().queued_tasks < 3) std::this_thread::yield();
  // Held: nothing can end, so what is inside now is all that gets in.
  for (int look = 0; look < 2000; ++look) {
    const EngineStats stats = engine_->stats();
    ASSERT_LE(stats.running_tasks + stats.queued_tasks, 3);
    std::this_thread::yield();
  }
  runner_->Resume();
  int answers = 0;
  for (v1::ScoreResponse response; stream->Read(&response);) ++answers;
  EXPECT_EQ(answers, 12);
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(ScoreStreamTest, ACancelledStreamFreesAllItsQuestions) {
  Start();
  runner_->Hold();
  grpc::ClientContext context;
  auto stream = stub_->ScoreStream(&context);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(stream->Write(Question(i)));
  runner_->WaitUntilHeld();
  context.TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), grpc::CANCELLED);
  runner_->Resume();
  EXPECT_TRUE(EverythingIsFree());
}

TEST_F(ScoreStreamTest, AMessageThatIsNotUtf8IsAnsweredAndTheStreamGoesOn) {
  Start();
  grpc::ClientContext context;
  auto stream = stub_->ScoreStream(&context);
  v1::ScoreRequest bad = Question(1);
  bad.set_text("x\xC3\x28");
  v1::ScoreRequest bad_id = Question(2);
  bad_id.set_id("\xFF");
  v1::ScoreRequest long_name = Question(3);  // its first hundred bytes end inside a character
  long_name.mutable_routing()->set_forced_expert(std::string(99, 'x') + "é");
  for (const auto& request : {bad, bad_id, long_name, Question(4)}) ASSERT_TRUE(stream->Write(request));
  stream->WritesDone();
  std::map<std::string, v1::ScoreResponse> answers;
  for (v1::ScoreResponse response; stream->Read(&response);) answers[response.id()] = response;
  EXPECT_TRUE(stream->Finish().ok());
  ASSERT_EQ(answers.size(), 4u);
  EXPECT_EQ(answers["1"].error().code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(answers["1"].error().message(), ::testing::HasSubstr("ScoreRequest.text"));
  EXPECT_EQ(answers["?"].error().code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(answers["3"].error().code(), grpc::NOT_FOUND);
  EXPECT_EQ(answers["4"].scores_size(), 2);
}

TEST_F(ScoreStreamTest, AnEmptyStreamEndsWell) {
  Start();
  grpc::ClientContext context;
  auto stream = stub_->ScoreStream(&context);
  stream->WritesDone();
  v1::ScoreResponse response;
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_TRUE(stream->Finish().ok());
}

}  // namespace
}  // namespace switchyard
