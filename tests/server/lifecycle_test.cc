// Health, drain, stopping, addresses.
#include <grpcpp/generic/generic_stub.h>

#include <atomic>
#include <thread>

#include "tests/server/server_fixture.h"

namespace switchyard {
namespace {

using ::testing::HasSubstr;

class LifecycleTest : public ServerTest {
 protected:
  static bool Never() { return false; }

  enum class Health { kUnknown = 0, kServing = 1, kNotServing = 2, kError = -1 };
  // grpc.health.v1.Health/Check, its two messages of one field written and read by hand.
  Health Check(const std::string& service) const { return CheckOn(channel_, service); }
  static Health CheckOn(const std::shared_ptr<grpc::Channel>& channel, const std::string& service) {
    std::string bytes;
    if (!service.empty()) bytes = std::string("\x0a") + static_cast<char>(service.size()) + service;
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::GenericStub stub(channel);
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    auto call = stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check", request, &queue);
    call->StartCall();
    grpc::ByteBuffer reply;
    grpc::Status status;
    call->Finish(&reply, &status, nullptr);
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    grpc::Slice answer;
    if (!status.ok() || !reply.DumpToSingleSlice(&answer).ok()) return Health::kError;
    return answer.size() == 2 ? static_cast<Health>(answer.begin()[1]) : Health::kUnknown;
  }
};

TEST_F(LifecycleTest, HealthIsServingUntilTheDrainBegins) {
  Start();
  for (const char* service : {"", "switchyard.v1.Inference"}) EXPECT_EQ(Check(service), Health::kServing) << service;
  EXPECT_EQ(Check("no.such.Service"), Health::kError);
  runner_->Hold();
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, LongRequest("abc", 5));
  runner_->WaitUntilHeld();
  std::thread drainer([&] { EXPECT_TRUE(server_->Drain(Never).ok()); });
  while (Check("") == Health::kServing) std::this_thread::yield();
  for (const char* service : {"", "switchyard.v1.Inference"}) EXPECT_EQ(Check(service), Health::kNotServing) << service;
  runner_->Resume();
  for (v1::GenerateResponse piece; reader->Read(&piece);) {
  }
  EXPECT_TRUE(reader->Finish().ok());
  drainer.join();
}

TEST_F(LifecycleTest, TheHealthPortFollowsTheDrainAndStaysLive) {
  ServerOptions options = TestOptions();
  options.health = "127.0.0.1:0";
  options.drain_delay_seconds = 60;
  Start(options);
  const auto channel = grpc::CreateChannel("127.0.0.1:" + std::to_string(server_->health_port()), grpc::InsecureChannelCredentials());
  for (const char* service : {"", "switchyard.v1.Inference", "live"}) EXPECT_EQ(CheckOn(channel, service), Health::kServing) << service;
  EXPECT_EQ(CheckOn(channel, "no.such.Service"), Health::kError);
  // Health alone: nobody gets past TLS and tokens here.
  grpc::ClientContext context;
  v1::GetModelResponse model;
  EXPECT_EQ(v1::Inference::NewStub(channel)->GetModel(&context, {}, &model).error_code(), grpc::StatusCode::UNIMPLEMENTED);
  std::atomic<bool> hurry = false;
  std::thread drainer([&] { EXPECT_TRUE(server_->Drain([&] { return hurry.load(); }).ok()); });
  while (CheckOn(channel, "") == Health::kServing) std::this_thread::yield();
  EXPECT_EQ(CheckOn(channel, ""), Health::kNotServing);
  EXPECT_EQ(CheckOn(channel, "live"), Health::kServing);
  hurry = true;
  drainer.join();
  EXPECT_EQ(CheckOn(channel, "live"), Health::kServing);
}

TEST_F(LifecycleTest, ATakenHealthPortIsAnErrorAtTheStart) {
  ServerOptions options = TestOptions();
  options.health = "127.0.0.1:0";
  Start(options);
  options.health = "127.0.0.1:" + std::to_string(server_->health_port());
  const auto second = Server::Start(options, model_, {});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(Message(second.status())), HasSubstr("health: cannot listen"));
}

TEST_F(LifecycleTest, RequestsAreTakenUntilTheDelayIsOver) {
  ServerOptions options = TestOptions();
  options.drain_delay_seconds = 60;
  Start(options);
  std::atomic<bool> hurry = false;
  std::thread drainer([&] { EXPECT_TRUE(server_->Drain([&] { return hurry.load(); }).ok()); });
  while (Check("") == Health::kServing) std::this_thread::yield();
  EXPECT_TRUE(Generate(LongRequest("abc", 5)).status.ok());
  hurry = true;  // a second signal ends the delay
  drainer.join();
}

TEST_F(LifecycleTest, ADrainFinishesStreamsAndRefusesNewCalls) {
  Start();
  runner_->Hold();
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, LongRequest("abc", 30));
  runner_->WaitUntilHeld();
  Status drained;
  std::thread drainer([&] { drained = server_->Drain(Never); });
  // Refused once the drain has begun; until then the score waits behind the held step.
  v1::ScoreResponse response;
  grpc::Status refused;
  do {
    grpc::ClientContext probe;
    probe.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(50));
    refused = stub_->Score(&probe, ScoreOfText("the", {" a"}), &response);
  } while (refused.error_code() == grpc::DEADLINE_EXCEEDED);
  EXPECT_EQ(refused.error_code(), grpc::UNAVAILABLE) << refused.error_message();
  runner_->Resume();
  size_t tokens = 0;
  bool finished = false;
  for (v1::GenerateResponse piece; reader->Read(&piece);) {
    tokens += piece.tokens_size();
    finished = finished || piece.has_finish();
  }
  EXPECT_TRUE(reader->Finish().ok());
  drainer.join();
  EXPECT_TRUE(drained.ok()) << drained;
  EXPECT_EQ(tokens, 30u);
  EXPECT_TRUE(finished);
}

TEST_F(LifecycleTest, WhatDoesNotFinishInTimeIsCancelled) {
  ServerOptions options = TestOptions();
  options.drain_seconds = 60;
  Start(options);
  runner_->Hold();
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, LongRequest("abc", 150));
  runner_->WaitUntilHeld();
  // Asked whether to hurry, the second signal comes, and the held step goes on.
  const Status drained = server_->Drain([&] {
    runner_->Resume();
    return true;
  });
  EXPECT_EQ(drained.code(), absl::StatusCode::kDeadlineExceeded);
  size_t tokens = 0;
  for (v1::GenerateResponse piece; reader->Read(&piece);) tokens += piece.tokens_size();
  const grpc::Status status = reader->Finish();
  // A fake model may be done with all its tokens before the engine is told to stop; then they have all arrived.
  EXPECT_EQ(status.error_code(), tokens == 150 ? grpc::OK : grpc::CANCELLED) << status.error_message();
  EXPECT_TRUE(EverythingIsFree());
}

TEST_F(LifecycleTest, DrainingTwiceAndDestroyingAreHarmless) {
  Start();
  EXPECT_TRUE(server_->Drain(Never).ok());
  EXPECT_TRUE(server_->Drain(Never).ok());
}

TEST_F(LifecycleTest, AnIdleScoreStreamIsSentElsewhereByADrain) {
  Start();
  grpc::ClientContext context;
  auto stream = stub_->ScoreStream(&context);
  ASSERT_TRUE(stream->Write(ScoreOfText("the", {" a"})));
  v1::ScoreResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_TRUE(server_->Drain(Never).ok());
  EXPECT_FALSE(stream->Read(&response));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::UNAVAILABLE) << status.error_message();
  EXPECT_THAT(status.error_message(), HasSubstr("draining"));
}

TEST_F(LifecycleTest, ADrainAnswersWhatAScoreStreamHasInWorkBeforeItEndsIt) {
  Start();
  runner_->Hold();
  grpc::ClientContext context;
  auto stream = stub_->ScoreStream(&context);
  constexpr int kQuestions = 5;
  for (int i = 0; i < kQuestions; ++i) ASSERT_TRUE(stream->Write(ScoreOfText("the", {" a", " op"})));
  runner_->WaitUntilHeld();
  while (engine_->stats().running_tasks + engine_->stats().queued_tasks < kQuestions) std::this_thread::yield();
  Status drained;
  std::thread drainer([&] { drained = server_->Drain(Never); });
  // A new stream is sent away at once, while the old one waits for the held step.
  for (grpc::StatusCode code = grpc::OK; code != grpc::UNAVAILABLE;) {
    grpc::ClientContext probe;
    probe.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(50));
    code = stub_->ScoreStream(&probe)->Finish().error_code();
  }
  runner_->Resume();
  int answers = 0;
  for (v1::ScoreResponse response; stream->Read(&response); ++answers) EXPECT_FALSE(response.has_error()) << response.error().message();
  EXPECT_EQ(answers, kQuestions);
  EXPECT_EQ(stream->Finish().error_code(), grpc::UNAVAILABLE);
  drainer.join();
  EXPECT_TRUE(drained.ok()) << drained;
}

TEST_F(LifecycleTest, ATakenAddressIsAnError) {
  Start();
  ServerOptions second = TestOptions();
  second.listen = "127.0.0.1:" + std::to_string(server_->grpc_port());
  const auto refused = Server::Start(second, model_, {});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(Message(refused.status())), HasSubstr(second.listen));
}

TEST_F(LifecycleTest, AFullWorkerQueueIsResourceExhausted) {
  ServerOptions options = TestOptions();
  options.workers = 1;
  options.max_pending_requests = 1;
  // The chat template holds the only worker until told to go on.
  struct Gate final : ChatTemplate {
    StatusOr<std::string> Render(const std::vector<ChatTurn>&, bool) const override {
      entered.fetch_add(1);
      entered.notify_all();
      open.wait(false);
      return std::string("x");
    }
    mutable std::atomic<int> entered{0};
    std::atomic<bool> open{false};
  };
  auto gate = std::make_shared<Gate>();
  model_.chat_template = gate;
  Start(options);
  v1::ScoreRequest blocking;
  blocking.mutable_chat()->add_messages()->set_role("user");
  blocking.add_continuations()->set_text("y");
  std::vector<std::thread> callers;
  std::atomic<int> ok = 0, refused = 0;
  const auto call = [&] {
    v1::ScoreResponse response;
    const grpc::Status status = Score(blocking, &response);
    if (status.ok()) ++ok;
    if (status.error_code() == grpc::RESOURCE_EXHAUSTED) ++refused;
  };
  callers.emplace_back(call);
  gate->entered.wait(0);
  for (int i = 0; i < 4; ++i) callers.emplace_back(call);
  while (refused < 3) std::this_thread::yield();  // one waits, the others are turned away
  gate->open = true;
  gate->open.notify_all();
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(ok, 2);
  EXPECT_EQ(refused, 3);
}

}  // namespace
}  // namespace switchyard
