// What a caller asks the engine for, in plain types: tokens, not text; no proto, no torch.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/runtime/model_runner.h"

namespace switchyard {

using SteadyTime = std::chrono::steady_clock::time_point;

// Sampling settings, applied in this order: repetition penalty, temperature, top-k, top-p, min-p. temperature 0 is greedy: the lowest id of
// the most likely.
struct SamplingParams {
  float temperature = 0.0f;         // >= 0
  int32_t top_k = 0;                // 0: off
  float top_p = 1.0f;               // (0, 1]
  float min_p = 0.0f;               // [0, 1): relative to the most likely token
  float repetition_penalty = 1.0f;  // > 0; over prompt and generated tokens (transformers' rule)
  uint64_t seed = 0;                // the same seed gives the same text whatever else runs
};

// What every task has.
struct TaskCommon {
  // What it runs on, leased until it has ended; the policy's indices are its. Null: what is stable when the task is submitted.
  std::shared_ptr<const Snapshot> snapshot;
  RoutingPolicy policy;
  SteadyTime deadline = SteadyTime::max();
  bool record_routes = false;   // keep a RouteTrace; such a task computes every token itself (no prefix hits), so that no route is missing
  bool partial_routes = false;  // with record_routes: cached tokens may be taken after all; their rows are missing from the trace
};

struct Timings {
  double queue_ms = 0;    // submission to first step
  double prefill_ms = 0;  // first step to first result
  double total_ms = 0;
};

struct TaskUsage {
  int64_t prompt_tokens = 0;    // what was sent; a context shared by the items of a group counts once
  int64_t cached_tokens = 0;    // prompt tokens taken from the prefix tree
  int64_t computed_tokens = 0;  // rows this task put through the model
  int64_t generated_tokens = 0;
  Timings timings;
};

// The routes of the rows this task computed, with record_routes; empty without. The runner counts whole steps, many tasks together, so one
// task's sums are taken from its own trace. A row is a token that went through the model: the last token of an answer or of a scored item
// did not.
struct RouteSummary {
  RouteCounts counts;  // of `trace`
  RouteTrace trace;    // rows in token order
};

enum class FinishReason { kStopToken, kStopString, kLength, kCancelled };

struct GenerateTask : TaskCommon {
  std::vector<TokenId> prompt;  // >= 1 token
  SamplingParams sampling;
  int32_t max_new_tokens = 256;      // >= 1; prompt + max_new_tokens must fit the model's positions
  std::vector<TokenId> stop_tokens;  // besides the model's own eos, unless ignore_eos
  bool ignore_eos = false;
  int32_t top_logprobs = -1;  // -1: none; 0: the chosen token's; n: also the n most likely
};

struct GeneratedToken {
  TokenId token = 0;
  bool is_stop = false;  // an eos or stop token: not part of the text
  float logprob = 0;     // when asked for
  std::vector<TokenLogProb> top;
};

struct GenerateResult {
  FinishReason reason = FinishReason::kLength;
  TaskUsage usage;
  RouteSummary routes;
  std::shared_ptr<const Snapshot> snapshot;
};

// Called on the engine thread; must not block. OnToken returning false ends the generation with kStopString (the caller found a stop
// string). Exactly one OnDone, always last.
class GenerateSink {
 public:
  virtual ~GenerateSink() = default;
  virtual bool OnToken(const GeneratedToken& token) = 0;
  virtual void OnDone(StatusOr<GenerateResult> result) = 0;
};

// One row to score: log-probabilities of tokens[score_from ..]. 1 <= score_from < tokens.size().
struct ScoreItem {
  std::vector<TokenId> tokens;
  int32_t score_from = 1;
};

// Items of one group share a context: their longest common prefix is computed once. PMI's unconditional rows form a second group.
struct ScoreTask : TaskCommon {
  std::vector<std::vector<ScoreItem>> groups;
  bool share_context = true;  // false: recompute the context for every item (the benchmark's baseline)
  bool use_prefix_cache = true;
};

struct ScoreItemResult {
  std::vector<float> logprobs;  // one per scored token
  bool is_greedy = true;        // every scored token is the most likely one
};

struct ScoreResult {
  std::vector<std::vector<ScoreItemResult>> groups;
  TaskUsage usage;
  RouteSummary routes;  // trace rows: per group the shared context, then each item's own rows
  std::shared_ptr<const Snapshot> snapshot;
};
using ScoreDone = std::function<void(StatusOr<ScoreResult>)>;  // engine thread; must not block

struct RouteTask : TaskCommon {  // record_routes is implied
  std::vector<TokenId> tokens;
};
struct RouteResult {
  TaskUsage usage;
  RouteSummary routes;
  std::shared_ptr<const Snapshot> snapshot;
};
using RouteDone = std::function<void(StatusOr<RouteResult>)>;  // engine thread; must not block

}  // namespace switchyard
