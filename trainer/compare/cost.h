// What a contestant costs: operations counted from shapes, time measured at the engine's own steps.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/artifact/model_config.h"
#include "engine/artifact/router_artifact.h"
#include "engine/base/status.h"
#include "engine/runtime/model_runner.h"
#include "engine/stats/route_record.h"
#include "trainer/compare/contestant.h"

namespace switchyard::trainer {

// Floating-point operations of one token; a multiplication and an addition are two.
struct Flops {
  double base = 0;     // linear layers, attention over `context` positions, vocabulary projection
  double experts = 0;  // LoRA products of the experts it selects, on average over the record
  double router = 0;
  double total() const { return base + experts + router; }
};
// Of one token, all layers: each value of the router's tensors is multiplied and added once (of a Gaussian: its mean subtracted, the square
// weighted by its precision, that is two a value). Tables of integers are looked up, and golden probes, thresholds and what is kept for
// experts that join later take no part.
double RouterFlops(const RouterArtifact& artifact);
Flops CountFlops(const ModelConfig& config, const Contestant& contestant, const RouteRecord& record, int64_t context);

struct TimingOptions {
  int32_t prefill_tokens = 128;
  int32_t decode_steps = 32;  // one token each, after the prefill
  int32_t rounds = 5;         // in each of them every contestant is measured once, in turn; one more round before is not counted
};

// Quantiles of one figure over its repetitions; of none: 0.
struct Timing {
  double p50 = 0, p99 = 0;
};
Timing QuantilesOf(std::vector<double> values);  // nearest rank

struct Timings {
  Timing prefill_seconds;                                              // of the whole prefill
  Timing decode_seconds;                                               // of one step
  double prefill_tokens_per_second = 0, decode_tokens_per_second = 0;  // over all rounds, a batch of one sequence
  double routing_seconds = 0;                                          // of one decode step, mean
  double routing_share = 0;                                            // of the decode steps' time, 0 to 1
  double prefill_routing_share = 0;
};

// [contestants]. `text`: tokens to feed, repeated where they are too few; the contestants see the same. REQUIRES: text is not empty. Runs
// on the calling thread; nothing else may use `runner`. RESOURCE_EXHAUSTED when prefill and decode do not fit the KV pool.
StatusOr<std::vector<Timings>> MeasureTimings(ModelRunner& runner, const std::vector<const Contestant*>& contestants,
                                              std::span<const TokenId> text, const TimingOptions& options);

}  // namespace switchyard::trainer
