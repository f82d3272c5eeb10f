#include "tests/testing/step_driver.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <span>
#include <utility>

namespace switchyard::testing {

StepDriver::StepDriver(ModelRunner& runner, uint32_t seed) : runner_(runner), snapshot_(runner.snapshot()) {
  const KvGeometry kv = runner.kv();
  free_.resize(static_cast<size_t>(kv.num_blocks) * static_cast<size_t>(kv.block_tokens));
  std::iota(free_.begin(), free_.end(), 0);
  std::shuffle(free_.begin(), free_.end(), std::mt19937(seed));
}

std::vector<int32_t> StepDriver::TakeSlots(size_t count) {
  if (count > free_.size()) {
    ADD_FAILURE() << "the test needs " << count << " KV slots, " << free_.size() << " are left";
    return std::vector<int32_t>(count, 0);
  }
  std::vector<int32_t> slots(free_.end() - static_cast<int64_t>(count), free_.end());
  free_.resize(free_.size() - count);
  return slots;
}

StepResult StepDriver::Run(const std::vector<TokenId>& tokens, std::vector<Segment> segments) {
  Step step;
  step.snapshot = snapshot_;
  step.tokens = tokens;
  for (Segment& segment : segments) segment.record_routes = true;
  step.segments = std::move(segments);
  for (int32_t row = 0; row < static_cast<int32_t>(tokens.size()); ++row) step.logits.push_back({row});
  StatusOr<StepResult> result = runner_.Run(step);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? *std::move(result) : StepResult{};
}

SequenceOutput StepDriver::Sequence(const std::vector<TokenId>& tokens, const RoutingPolicy& policy, size_t chunk) {
  if (chunk == 0) chunk = tokens.size();
  const std::vector<int32_t> slots = TakeSlots(tokens.size());
  SequenceOutput output;
  for (size_t begin = 0; begin < tokens.size(); begin += chunk) {
    const size_t end = std::min(tokens.size(), begin + chunk);
    const Segment segment{0, static_cast<int32_t>(end - begin), std::span(slots).first(end), &policy};
    StepResult result = Run({tokens.begin() + static_cast<int64_t>(begin), tokens.begin() + static_cast<int64_t>(end)}, {segment});
    if (result.routes.empty()) return output;
    std::move(result.logits.begin(), result.logits.end(), std::back_inserter(output.logits));
    AppendTrace(result.routes.front(), &output.routes);
  }
  return output;
}

std::vector<TokenId> StepDriver::Greedy(const std::vector<TokenId>& prompt, size_t count, const RoutingPolicy& policy) {
  const std::vector<int32_t> slots = TakeSlots(prompt.size() + count);
  std::vector<TokenId> tokens = prompt, answer;
  size_t seen = 0;
  while (answer.size() < count) {
    Step step;
    step.snapshot = snapshot_;
    step.tokens.assign(tokens.begin() + static_cast<int64_t>(seen), tokens.end());
    const auto rows = static_cast<int32_t>(step.tokens.size());
    step.segments = {{0, rows, std::span(slots).first(tokens.size()), &policy}};
    step.top_logprobs = {{rows - 1, 1}};
    const StatusOr<StepResult> result = runner_.Run(step);
    EXPECT_TRUE(result.ok()) << result.status();
    if (!result.ok()) return answer;
    seen = tokens.size();
    answer.push_back(result->top_logprobs.front().front().token);
    tokens.push_back(answer.back());
  }
  return answer;
}

void AppendTrace(const RouteTrace& part, RouteTrace* to) {
  to->rows += part.rows;
  to->layers = part.layers;
  to->k = part.k;
  to->experts.insert(to->experts.end(), part.experts.begin(), part.experts.end());
  to->weights.insert(to->weights.end(), part.weights.begin(), part.weights.end());
  to->margin.insert(to->margin.end(), part.margin.begin(), part.margin.end());
  to->entropy.insert(to->entropy.end(), part.entropy.begin(), part.entropy.end());
}

}  // namespace switchyard::testing
