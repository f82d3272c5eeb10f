// Clients that never pause, balanced over several servers by gRPC itself, for a test that restarts those servers one after the other.
//   rolling_client TARGET SERVICE_CONFIG_FILE CLIENTS
// Each line read from standard input is answered with one JSON line: "ok" (whole and right answers), "failed" (everything else),
// "first_failure", and "peers", the answers by each server's port. The end of the input ends the clients after the calls under way; a last
// line follows.

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "switchyard/v1/inference.grpc.pb.h"

namespace {

using namespace switchyard::v1;

constexpr int kGeneratedTokens = 48;

class Tally {
 public:
  void Count(const std::string& peer, const std::string& failure) {
    const std::lock_guard lock(mutex_);
    if (failure.empty()) {
      ++ok_;
      ++peers_[peer.substr(peer.rfind(':') + 1)];
    } else if (failed_++ == 0) {
      first_failure_ = failure;
    }
  }
  void Print() const {
    const std::lock_guard lock(mutex_);
    std::printf("{\"ok\": %d, \"failed\": %d, \"first_failure\": \"", ok_, failed_);
    for (const char c : first_failure_) {
      if (c >= ' ' && c != '"' && c != '\\') std::putchar(c);
    }
    std::printf("\", \"peers\": {");
    const char* comma = "";
    for (const auto& [peer, count] : peers_) {
      std::printf("%s\"%s\": %d", comma, peer.c_str(), count);
      comma = ", ";
    }
    std::printf("}}\n");
    std::fflush(stdout);
  }

 private:
  mutable std::mutex mutex_;
  int ok_ = 0, failed_ = 0;
  std::string first_failure_;
  std::map<std::string, int> peers_;
};

std::string Failure(const char* call, const grpc::ClientContext& context, const grpc::Status& status, bool whole) {
  if (status.ok() && whole) return "";
  return std::string(call) + " at " + context.peer() + ": " + std::to_string(status.error_code()) + " " + status.error_message() +
         (whole ? "" : ", not whole");
}

void SetDeadline(grpc::ClientContext* context) { context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(120)); }

void Generate(Inference::Stub& stub, int number, Tally* tally) {
  grpc::ClientContext context;
  SetDeadline(&context);
  GenerateRequest request;
  request.set_text("question " + std::to_string(number % 7));
  request.set_max_tokens(kGeneratedTokens);
  request.set_ignore_eos(true);
  const auto reader = stub.Generate(&context, request);
  int tokens = 0;
  bool finished = false;
  for (GenerateResponse piece; reader->Read(&piece);) {
    tokens += piece.tokens_size();
    finished |= piece.has_finish();
  }
  const grpc::Status status = reader->Finish();
  tally->Count(context.peer(), Failure("Generate", context, status, finished && tokens == kGeneratedTokens));
}

ScoreRequest ScoreOf(int number) {
  ScoreRequest request;
  request.set_id(std::to_string(number));
  request.set_text("question " + std::to_string(number % 7) + " is");
  for (const char* text : {" one", " eleven"}) request.add_continuations()->set_text(text);
  return request;
}

void Score(Inference::Stub& stub, int number, Tally* tally) {
  grpc::ClientContext context;
  SetDeadline(&context);
  ScoreResponse response;
  const grpc::Status status = stub.Score(&context, ScoreOf(number), &response);
  tally->Count(context.peer(), Failure("Score", context, status, response.scores_size() == 2));
}

void ScoreStream(Inference::Stub& stub, int number, Tally* tally) {
  constexpr int kQuestions = 4;
  grpc::ClientContext context;
  SetDeadline(&context);
  const auto stream = stub.ScoreStream(&context);
  for (int i = 0; i < kQuestions; ++i) stream->Write(ScoreOf(number + i));
  stream->WritesDone();
  int answers = 0;
  for (ScoreResponse response; stream->Read(&response);) answers += response.scores_size() == 2;
  const grpc::Status status = stream->Finish();
  tally->Count(context.peer(), Failure("ScoreStream", context, status, answers == kQuestions));
}

void Route(Inference::Stub& stub, int number, Tally* tally) {
  grpc::ClientContext context;
  SetDeadline(&context);
  RouteRequest request;
  request.set_text("question " + std::to_string(number % 7));
  RouteResponse response;
  const grpc::Status status = stub.Route(&context, request, &response);
  tally->Count(context.peer(), Failure("Route", context, status, response.has_routes()));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  std::ifstream file(argv[2]);
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
  arguments.SetServiceConfigJSON(std::string(std::istreambuf_iterator<char>(file), {}));
  const auto channel = grpc::CreateCustomChannel(argv[1], grpc::InsecureChannelCredentials(), arguments);
  const auto stub = Inference::NewStub(channel);

  Tally tally;
  std::atomic<bool> stop = false;
  std::vector<std::thread> clients;
  for (int c = 0; c < std::atoi(argv[3]); ++c) {
    clients.emplace_back([&, c] {
      constexpr void (*kCalls[])(Inference::Stub&, int, Tally*) = {Generate, Score, Generate, ScoreStream, Route};
      for (int number = c; !stop; ++number) kCalls[number % std::size(kCalls)](*stub, number, &tally);
    });
  }
  for (std::string line; std::getline(std::cin, line);) tally.Print();
  stop = true;
  for (std::thread& client : clients) client.join();
  tally.Print();
  return 0;
}
