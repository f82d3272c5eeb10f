// The load of a soak: threads that ask the same few questions over and over and keep what each answer said it ran on.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "switchyard/v1/inference.grpc.pb.h"

namespace switchyard::soak {

// One of a fixed set of requests, by number: Generate (greedy and sampled), Score, Route.
inline constexpr int kQuestions = 24;

// The generation an answer named, and everything in it that must be the same whenever that generation answers.
struct Answer {
  std::string generation;
  std::string content;
};

class Asker {
 public:
  explicit Asker(const std::string& address);
  grpc::Status Ask(int question, Answer* answer);
  // A Generate given up after its first piece.
  void AskAndCancel(int question);
  // Milliseconds between the pieces of the Generate answers since the last call.
  std::vector<double> TakeGaps() { return std::exchange(gaps_ms_, {}); }

 private:
  grpc::Status Generate(const v1::GenerateRequest& request, Answer* answer);
  std::unique_ptr<v1::Inference::Stub> stub_;
  std::vector<double> gaps_ms_;
};

// Thread-safe. Runs from construction to Stop.
class SoakClients {
 public:
  SoakClients(const std::string& address, int threads, uint32_t seed);
  ~SoakClients() { Stop(); }
  void Stop();

  uint64_t answers() const { return answers_; }
  uint64_t cancelled() const { return cancelled_; }
  // About what `seen` and the latencies take by now.
  int64_t noted_bytes() const { return noted_bytes_; }
  // After Stop.
  const std::vector<std::string>& failures() const { return failures_; }
  const std::vector<double>& latencies_ms() const { return latencies_ms_; }
  const std::vector<double>& gaps_ms() const { return gaps_ms_; }  // between the pieces of a Generate: a decode step, as a client sees it
  // (generation, question) -> every different content seen; more than one is a mixed answer already.
  const std::map<std::pair<std::string, int>, std::set<std::string>>& seen() const { return seen_; }

 private:
  void Run(const std::string& address, uint32_t seed);

  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> answers_{0}, cancelled_{0};
  std::atomic<int64_t> noted_bytes_{0};
  std::mutex mutex_;
  std::vector<std::string> failures_;                                  // guarded by mutex_
  std::vector<double> latencies_ms_, gaps_ms_;                         // guarded by mutex_
  std::map<std::pair<std::string, int>, std::set<std::string>> seen_;  // guarded by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace switchyard::soak
