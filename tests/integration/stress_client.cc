// Many concurrent clients against a running server: Generate, Score, ScoreStream and Route with random cancels, deadlines and bad requests,
// for a bounded number of calls. Exit 0 when every call ended with a status such a call may have; prints the counts as one JSON line.
//   stress_client SERVER CLIENTS CALLS_PER_CLIENT SEED

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdio>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "switchyard/v1/inference.grpc.pb.h"

namespace {

using namespace switchyard::v1;
using Rng = std::mt19937_64;

struct Outcome {
  std::string call;
  grpc::Status status;
  std::vector<grpc::StatusCode> allowed;
};

std::string RandomText(Rng& rng, int words) {
  static const char* const kWords[] = {"heart", "court", "sum", "loop", "water", "bees", "law", "dose", "the", "of", "is", "seven"};
  std::string text;
  for (int i = 0; i < words; ++i) text += std::string(kWords[rng() % 12]) + " ";
  return text;
}

void MaybeDeadline(Rng& rng, grpc::ClientContext* context, Outcome* outcome) {
  const bool tight = rng() % 3 == 0;
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(tight ? 1 + rng() % 200 : 300000));
  if (tight) outcome->allowed.push_back(grpc::StatusCode::DEADLINE_EXCEEDED);
}

Outcome Generate(Inference::Stub& stub, Rng& rng) {
  Outcome outcome{"generate", {}, {grpc::StatusCode::OK, grpc::StatusCode::RESOURCE_EXHAUSTED}};
  grpc::ClientContext context;
  MaybeDeadline(rng, &context, &outcome);
  GenerateRequest request;
  request.set_text(RandomText(rng, 1 + rng() % 60));
  request.set_max_tokens(1 + rng() % 24);
  request.set_ignore_eos(true);
  const int cancel_after = rng() % 2 == 0 ? static_cast<int>(rng() % 8) : -1;
  auto reader = stub.Generate(&context, request);
  GenerateResponse response;
  int messages = 0;
  if (cancel_after == 0) context.TryCancel();
  while (reader->Read(&response)) {
    if (++messages == cancel_after) context.TryCancel();
  }
  if (cancel_after >= 0) outcome.allowed.push_back(grpc::StatusCode::CANCELLED);
  outcome.status = reader->Finish();
  return outcome;
}

ScoreRequest RandomScore(Rng& rng) {
  ScoreRequest request;
  request.set_text(RandomText(rng, 5 + rng() % 60));
  const int choices = 2 + rng() % 4;
  for (int i = 0; i < choices; ++i) request.add_continuations()->set_text(" " + RandomText(rng, 1 + rng() % 5));
  return request;
}

Outcome Score(Inference::Stub& stub, Rng& rng) {
  Outcome outcome{"score", {}, {grpc::StatusCode::OK, grpc::StatusCode::RESOURCE_EXHAUSTED}};
  grpc::ClientContext context;
  MaybeDeadline(rng, &context, &outcome);
  ScoreResponse response;
  outcome.status = stub.Score(&context, RandomScore(rng), &response);
  return outcome;
}

Outcome ScoreStream(Inference::Stub& stub, Rng& rng) {
  Outcome outcome{"score_stream", {}, {grpc::StatusCode::OK}};
  grpc::ClientContext context;
  MaybeDeadline(rng, &context, &outcome);
  auto stream = stub.ScoreStream(&context);
  const int count = 1 + rng() % 4;
  for (int i = 0; i < count; ++i) {
    ScoreRequest request = RandomScore(rng);
    request.set_id(std::to_string(i));
    if (!stream->Write(request)) break;
  }
  if (rng() % 3 == 0) {
    context.TryCancel();
    outcome.allowed.push_back(grpc::StatusCode::CANCELLED);
  }
  stream->WritesDone();
  ScoreResponse response;
  while (stream->Read(&response)) {
  }
  outcome.status = stream->Finish();
  return outcome;
}

Outcome Route(Inference::Stub& stub, Rng& rng) {
  Outcome outcome{"route", {}, {grpc::StatusCode::OK, grpc::StatusCode::RESOURCE_EXHAUSTED}};
  grpc::ClientContext context;
  MaybeDeadline(rng, &context, &outcome);
  RouteRequest request;
  request.set_text(RandomText(rng, 1 + rng() % 40));
  request.set_level(ROUTE_LEVEL_TOKEN);
  RouteResponse response;
  outcome.status = stub.Route(&context, request, &response);
  return outcome;
}

Outcome Bad(Inference::Stub& stub, Rng& rng) {
  Outcome outcome{"bad", {}, {grpc::StatusCode::INVALID_ARGUMENT, grpc::StatusCode::NOT_FOUND}};
  grpc::ClientContext context;
  GenerateRequest request;
  request.set_max_tokens(4);
  switch (rng() % 3) {
    case 0:
      break;  // no prompt
    case 1:
      request.set_text("x");
      request.mutable_routing()->set_forced_expert("no such expert");
      break;
    default:
      request.set_text("x");
      request.mutable_sampling()->set_temperature(-1);
  }
  auto reader = stub.Generate(&context, request);
  GenerateResponse response;
  while (reader->Read(&response)) {
  }
  outcome.status = reader->Finish();
  return outcome;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: stress_client SERVER CLIENTS CALLS_PER_CLIENT SEED\n");
    return 2;
  }
  const std::string server = argv[1];
  const int clients = std::stoi(argv[2]), calls = std::stoi(argv[3]);
  const uint64_t seed = std::stoull(argv[4]);
  std::mutex mutex;
  std::map<std::string, int> counts;
  int unexpected = 0;
  std::vector<std::thread> threads;
  for (int c = 0; c < clients; ++c) {
    threads.emplace_back([&, c] {
      grpc::ChannelArguments arguments;
      arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
      auto stub = Inference::NewStub(grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), arguments));
      Rng rng(seed * 1000003 + c);
      for (int i = 0; i < calls; ++i) {
        using Call = Outcome (*)(Inference::Stub&, Rng&);
        static constexpr Call kCalls[] = {Generate, Generate, Score, Score, ScoreStream, Route, Bad};
        const Outcome outcome = kCalls[rng() % 7](*stub, rng);
        bool fine = false;
        for (grpc::StatusCode code : outcome.allowed) fine |= outcome.status.error_code() == code;
        std::lock_guard lock(mutex);
        ++counts[outcome.call + ":" + std::to_string(outcome.status.error_code())];
        if (!fine) {
          ++unexpected;
          std::fprintf(stderr, "seed %llu client %d call %d: %s ended with %d: %s\n", static_cast<unsigned long long>(seed), c, i,
                       outcome.call.c_str(), outcome.status.error_code(), outcome.status.error_message().c_str());
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::printf("{");
  for (const auto& [name, count] : counts) std::printf("\"%s\": %d, ", name.c_str(), count);
  std::printf("\"unexpected\": %d}\n", unexpected);
  return unexpected == 0 ? 0 : 1;
}
