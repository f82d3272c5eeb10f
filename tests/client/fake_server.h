// A small Inference server in this process: answers are computed from the request alone (a hash), and a test can look at, hold back or
// refuse any call.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "switchyard/v1/inference.grpc.pb.h"

namespace switchyard::client {

// Thread-safe where the hooks are. Listens on a free port of 127.0.0.1 from construction to destruction.
class FakeServer : public v1::Inference::Service {
 public:
  // Each sees the request before the answer is made; another status than OK is the answer. Called on the server's threads.
  struct Hooks {
    std::function<grpc::Status(const v1::ScoreRequest&)> score = nullptr;
    std::function<grpc::Status(const v1::GenerateRequest&)> generate = nullptr;
    // After each piece of a stream, with its index; another status ends the stream there.
    std::function<grpc::Status(int)> piece = nullptr;
    std::function<grpc::Status(const v1::RouteRequest&)> route = nullptr;
    // Changes a finished Score reply.
    std::function<void(v1::ScoreResponse*)> edit_score = nullptr;
    // Sees the context of every GetModel.
    std::function<grpc::Status(const grpc::ServerContext&)> model = nullptr;
    // Null: plain text.
    std::shared_ptr<grpc::ServerCredentials> credentials = nullptr;
  };

  FakeServer() : FakeServer(Hooks()) {}
  explicit FakeServer(Hooks hooks);
  ~FakeServer() override;

  const std::string& address() const { return address_; }
  int score_calls() const { return score_calls_; }
  int most_in_flight() const { return most_in_flight_; }
  v1::GenerateRequest last_generate() const;
  v1::RouteRequest last_route() const;
  v1::ScoreRequest last_score() const;

  // The score the server gives a continuation: negative, and the same every time.
  static double LogProb(const std::string& context, const std::string& continuation);
  // What Generate answers, in four pieces.
  static std::string Answer(const std::string& prompt);

  grpc::Status Generate(grpc::ServerContext*, const v1::GenerateRequest* request,
                        grpc::ServerWriter<v1::GenerateResponse>* writer) override;
  grpc::Status Score(grpc::ServerContext*, const v1::ScoreRequest* request, v1::ScoreResponse* response) override;
  grpc::Status Route(grpc::ServerContext*, const v1::RouteRequest* request, v1::RouteResponse* response) override;
  grpc::Status GetModel(grpc::ServerContext* context, const v1::GetModelRequest*, v1::GetModelResponse* response) override;

 private:
  const Hooks hooks_;
  std::string address_;
  std::atomic<int> score_calls_{0}, in_flight_{0}, most_in_flight_{0};
  mutable std::mutex mutex_;
  v1::GenerateRequest last_generate_;  // guarded by mutex_
  v1::RouteRequest last_route_;        // guarded by mutex_
  v1::ScoreRequest last_score_;        // guarded by mutex_
  std::unique_ptr<grpc::Server> server_;
};

// The generations of the fake model: experts "law", "medicine" and "zero".
v1::Generations FakeGenerations();
// Routes over two layers and three tokens.
v1::Routes FakeRoutes();

}  // namespace switchyard::client
