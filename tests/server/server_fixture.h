// What the RPC tests share: a real server on a free port, over a real engine, over a fake model and a fake tokenizer.
#pragma once

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "server/server.h"
#include "switchyard/v1/inference.grpc.pb.h"
#include "tests/server/fake_tokenizer.h"
#include "tests/testing/fake_model_runner.h"

namespace switchyard {

// The pieces of one Generate stream put together.
struct GenerateOutcome {
  std::string text;
  std::vector<int32_t> tokens;
  std::vector<v1::TokenLogProbs> logprobs;
  std::vector<int32_t> prompt_tokens;
  v1::GenerateResponse::Finish finish;
  int messages = 0;
  bool only_last_finishes = true;
  grpc::Status status;
};

class ServerTest : public ::testing::Test {
 protected:
  ServerTest();
  // No metrics page unless asked for: closing it takes civetweb two seconds.
  static ServerOptions TestOptions();
  void Start(const ServerOptions& options = TestOptions(), const FakeModelRunner::Options& model = {});
  void TearDown() override;  // stops everything; fails the test when the fake model saw a broken rule

  // A connection of its own.
  std::shared_ptr<grpc::Channel> NewChannel() const;
  GenerateOutcome Generate(const v1::GenerateRequest& request, grpc::ClientContext* context = nullptr);
  grpc::Status Score(const v1::ScoreRequest& request, v1::ScoreResponse* response);
  grpc::Status Route(const v1::RouteRequest& request, v1::RouteResponse* response);

  // A greedy request that runs to its length.
  static v1::GenerateRequest LongRequest(const std::string& text, int max_tokens);
  static v1::ScoreRequest ScoreOfText(const std::string& context, const std::vector<std::string>& continuations);

  // Waits until no task and no KV block is left, at most ten seconds; returns whether that happened.
  bool EverythingIsFree() const;
  const SnapshotInfo& info() const { return snapshot_->info(); }

  std::shared_ptr<FakeTokenizer> tokenizer_ = std::make_shared<FakeTokenizer>();
  ServedModel model_;  // complete but for the engine; tests change it before Start
  std::unique_ptr<FakeModelRunner> runner_;
  std::shared_ptr<const Snapshot> snapshot_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Inference::Stub> stub_;
};

}  // namespace switchyard
