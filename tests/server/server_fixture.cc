#include "tests/server/server_fixture.h"

#include <chrono>
#include <thread>

namespace switchyard {

ServerTest::ServerTest() {
  model_.tokenizer = tokenizer_;
  model_.chat_template = std::make_shared<FakeChatTemplate>();
  model_.dtype = "f32";
}

ServerOptions ServerTest::TestOptions() {
  ServerOptions options;
  options.listen = "127.0.0.1:0";
  options.metrics = "";
  options.drain_seconds = 10;
  options.gate.log_requests = 0;  // tests that look at the log turn it on
  return options;
}

void ServerTest::Start(const ServerOptions& options, const FakeModelRunner::Options& model) {
  runner_ = std::make_unique<FakeModelRunner>(model);
  snapshot_ = runner_->snapshot();
  auto engine = Engine::Create(options.engine, runner_.get());
  ASSERT_TRUE(engine.ok()) << engine.status();
  engine_ = *std::move(engine);
  model_.engine = engine_.get();
  auto server = Server::Start(options, model_, {.base = 1, .kv = 4});
  ASSERT_TRUE(server.ok()) << server.status();
  server_ = *std::move(server);
  channel_ = NewChannel();
  stub_ = v1::Inference::NewStub(channel_);
}

void ServerTest::TearDown() {
  if (runner_ != nullptr) runner_->Resume();
  stub_.reset();
  channel_.reset();
  server_.reset();
  engine_.reset();
  if (runner_ != nullptr) {
    EXPECT_THAT(runner_->violations(), ::testing::IsEmpty());
  }
}

std::shared_ptr<grpc::Channel> ServerTest::NewChannel() const {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(-1);
  return grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(server_->grpc_port()), grpc::InsecureChannelCredentials(), arguments);
}

GenerateOutcome ServerTest::Generate(const v1::GenerateRequest& request, grpc::ClientContext* context) {
  GenerateOutcome outcome;
  grpc::ClientContext own;
  auto reader = stub_->Generate(context != nullptr ? context : &own, request);
  for (v1::GenerateResponse piece; reader->Read(&piece);) {
    if (outcome.finish.has_usage()) outcome.only_last_finishes = false;
    ++outcome.messages;
    outcome.text += piece.text();
    outcome.tokens.insert(outcome.tokens.end(), piece.tokens().begin(), piece.tokens().end());
    outcome.logprobs.insert(outcome.logprobs.end(), piece.logprobs().begin(), piece.logprobs().end());
    if (piece.has_prompt_tokens()) outcome.prompt_tokens.assign(piece.prompt_tokens().ids().begin(), piece.prompt_tokens().ids().end());
    if (piece.has_finish()) outcome.finish = piece.finish();
    EXPECT_EQ(piece.id(), request.id());
  }
  outcome.status = reader->Finish();
  return outcome;
}

grpc::Status ServerTest::Score(const v1::ScoreRequest& request, v1::ScoreResponse* response) {
  grpc::ClientContext context;
  return stub_->Score(&context, request, response);
}

grpc::Status ServerTest::Route(const v1::RouteRequest& request, v1::RouteResponse* response) {
  grpc::ClientContext context;
  return stub_->Route(&context, request, response);
}

v1::GenerateRequest ServerTest::LongRequest(const std::string& text, int max_tokens) {
  v1::GenerateRequest request;
  request.set_text(text);
  request.set_max_tokens(max_tokens);
  request.set_ignore_eos(true);
  return request;
}

v1::ScoreRequest ServerTest::ScoreOfText(const std::string& context, const std::vector<std::string>& continuations) {
  v1::ScoreRequest request;
  request.set_text(context);
  for (const std::string& text : continuations) request.add_continuations()->set_text(text);
  return request;
}

bool ServerTest::EverythingIsFree() const {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  do {
    const EngineStats stats = engine_->stats();
    if (stats.queued_tasks == 0 && stats.running_tasks == 0 && stats.kv_blocks_used == 0) return true;
    std::this_thread::yield();
  } while (std::chrono::steady_clock::now() < deadline);
  return false;
}

}  // namespace switchyard
