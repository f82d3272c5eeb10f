#include "tests/soak/soak_clients.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <optional>
#include <random>

namespace switchyard::soak {
namespace {

constexpr const char* kPrompts[] = {"the", "the a the a", "a the the", "the the a a the the"};
constexpr size_t kMostFailuresKept = 20;
constexpr int64_t kNodeBytes = 250;  // of a map's and a set's node, with what the allocator adds

std::string Prompt(int question) { return kPrompts[question / 4 % 4]; }

v1::GenerateRequest GenerateQuestion(int question) {
  v1::GenerateRequest request;
  request.set_text(Prompt(question));
  request.set_max_tokens(4 + question % 13);
  request.set_ignore_eos(true);
  request.set_logprobs(2);
  request.set_routes(v1::ROUTE_LEVEL_TOKEN);
  request.mutable_sampling()->set_temperature(question % 2 == 0 ? 0.0f : 0.8f);
  request.mutable_sampling()->set_seed(question);
  return request;
}

}  // namespace

Asker::Asker(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  stub_ = v1::Inference::NewStub(grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
}

grpc::Status Asker::Generate(const v1::GenerateRequest& request, Answer* answer) {
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, request);
  v1::GenerateResponse whole;
  std::optional<std::chrono::steady_clock::time_point> last;
  for (v1::GenerateResponse piece; reader->Read(&piece);) {
    const auto now = std::chrono::steady_clock::now();
    if (last && piece.tokens_size() > 0) gaps_ms_.push_back(std::chrono::duration<double, std::milli>(now - *last).count());
    last = now;
    whole.mutable_text()->append(piece.text());
    whole.mutable_tokens()->MergeFrom(piece.tokens());
    whole.mutable_logprobs()->MergeFrom(piece.logprobs());
    if (piece.has_finish()) *whole.mutable_finish() = piece.finish();
  }
  whole.mutable_finish()->clear_usage();
  whole.mutable_finish()->clear_timings();
  answer->generation = whole.finish().generations().snapshot();
  answer->content = whole.SerializeAsString();
  return reader->Finish();
}

grpc::Status Asker::Ask(int question, Answer* answer) {
  if (question % 4 < 2) return Generate(GenerateQuestion(question), answer);
  grpc::ClientContext context;
  if (question % 4 == 2) {
    v1::ScoreRequest request;
    request.set_text(Prompt(question));
    for (const char* text : {" a", " the", " a the a"}) request.add_continuations()->set_text(text);
    request.set_token_logprobs(true);
    request.set_routes(v1::ROUTE_LEVEL_NONE);
    v1::ScoreResponse response;
    const grpc::Status status = stub_->Score(&context, request, &response);
    response.clear_usage();
    response.clear_timings();
    *answer = {response.generations().snapshot(), response.SerializeAsString()};
    return status;
  }
  v1::RouteRequest request;
  request.set_text(Prompt(question));
  request.set_level(v1::ROUTE_LEVEL_TOKEN);
  v1::RouteResponse response;
  const grpc::Status status = stub_->Route(&context, request, &response);
  response.clear_usage();
  response.clear_timings();
  *answer = {response.generations().snapshot(), response.SerializeAsString()};
  return status;
}

void Asker::AskAndCancel(int question) {
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, GenerateQuestion(question));
  v1::GenerateResponse piece;
  reader->Read(&piece);
  context.TryCancel();
  while (reader->Read(&piece)) {
  }
  (void)reader->Finish();
}

SoakClients::SoakClients(const std::string& address, int threads, uint32_t seed) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this, address, seed, i] { Run(address, seed * 1000 + i); });
}

void SoakClients::Stop() {
  stop_ = true;
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void SoakClients::Run(const std::string& address, uint32_t seed) {
  std::mt19937 random(seed);
  Asker asker(address);
  while (!stop_) {
    const int question = static_cast<int>(random() % kQuestions);
    if (random() % 10 == 0) {
      asker.AskAndCancel(question);
      ++cancelled_;
      continue;
    }
    Answer answer;
    const auto begin = std::chrono::steady_clock::now();
    const grpc::Status status = asker.Ask(question, &answer);
    const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
    std::lock_guard lock(mutex_);
    if (!status.ok()) {
      if (failures_.size() < kMostFailuresKept) failures_.push_back(status.error_message());
      continue;
    }
    ++answers_;
    latencies_ms_.push_back(ms);
    const std::vector<double> gaps = asker.TakeGaps();
    gaps_ms_.insert(gaps_ms_.end(), gaps.begin(), gaps.end());
    noted_bytes_ += static_cast<int64_t>((1 + gaps.size()) * sizeof(double));
    const auto [content, is_new] = seen_[{answer.generation, question}].insert(std::move(answer.content));
    if (is_new) noted_bytes_ += static_cast<int64_t>(content->capacity() + answer.generation.capacity()) + kNodeBytes;
  }
}

}  // namespace switchyard::soak
