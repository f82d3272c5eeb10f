// A tiny world and data that can be learned by heart.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/trainer/nn/nn_fixture.h"
#include "trainer/run/training_run.h"

namespace switchyard::trainer {

// A random prompt and an answer of two tokens that depends on its first.
inline Dataset TinyData(int examples, int32_t vocab, uint32_t seed) {
  Dataset data;
  data.domains = {"tiny"};
  uint32_t state = seed;
  const auto next = [&] { return static_cast<int32_t>((state = state * 1664525u + 1013904223u) >> 16); };
  for (int i = 0; i < examples; ++i) {
    Example example;
    for (int t = 0; t < 4 + i % 5; ++t) example.tokens.push_back(next() % vocab);
    example.answer_begin = static_cast<int32_t>(example.tokens.size());
    example.tokens.push_back((example.tokens[0] * 3 + 1) % vocab);
    example.tokens.push_back((example.tokens[0] * 5 + 2) % vocab);
    data.examples.push_back(std::move(example));
  }
  return data;
}

// Calls back at every step; keeps nothing.
class WatchingLog final : public RunLog {
 public:
  explicit WatchingLog(std::function<void(const StepRecord&)> on_step) : on_step_(std::move(on_step)) {}
  Status Step(const StepRecord& record) override {
    on_step_(record);
    return OkStatus();
  }
  Status Event(const std::string& kind, int64_t, const std::string&, const std::vector<std::pair<std::string, double>>&) override {
    events.push_back(kind);
    return OkStatus();
  }
  Status GoOnFrom(int64_t step) override {
    from = step;
    return OkStatus();
  }
  Status Close() override { return OkStatus(); }
  std::vector<std::string> events;
  int64_t from = -1;

 private:
  std::function<void(const StepRecord&)> on_step_;
};

}  // namespace switchyard::trainer
