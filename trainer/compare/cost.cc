#include "trainer/compare/cost.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

namespace switchyard::trainer {
namespace {

struct Sample {
  std::vector<double> prefill, decode;             // seconds
  double prefill_routing = 0, decode_routing = 0;  // seconds, summed
};

// Feeds `count` tokens from position `first` on as one step.
Status TimeStep(ModelRunner& runner, const Contestant& contestant, std::span<const TokenId> tokens, std::span<const int32_t> slots,
                std::vector<double>* seconds, double* routing) {
  Step step;
  step.snapshot = contestant.snapshot;
  step.tokens.assign(tokens.begin(), tokens.end());
  const auto rows = static_cast<int32_t>(tokens.size());
  step.segments.push_back({.begin = 0, .end = rows, .slots = slots, .policy = &contestant.policies.front()});
  step.top_logprobs.push_back({.row = rows - 1, .count = 1});  // what choosing the next token takes
  const auto start = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(const StepResult result, runner.Run(step));
  seconds->push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  *routing += result.routing_seconds;
  return OkStatus();
}

Status Measure(ModelRunner& runner, const Contestant& contestant, std::span<const TokenId> tokens, std::span<const int32_t> slots,
               int32_t prefill, Sample* sample) {
  RETURN_IF_ERROR(TimeStep(runner, contestant, tokens.first(prefill), slots.first(prefill), &sample->prefill, &sample->prefill_routing));
  for (size_t at = static_cast<size_t>(prefill); at < tokens.size(); ++at) {
    RETURN_IF_ERROR(TimeStep(runner, contestant, tokens.subspan(at, 1), slots.first(at + 1), &sample->decode, &sample->decode_routing));
  }
  return OkStatus();
}

Timings Summarise(const Sample& sample, const TimingOptions& options) {
  Timings timings;
  const double prefill = std::accumulate(sample.prefill.begin(), sample.prefill.end(), 0.0);
  const double decode = std::accumulate(sample.decode.begin(), sample.decode.end(), 0.0);
  const auto steps = static_cast<double>(sample.decode.size());
  timings.prefill_seconds = QuantilesOf(sample.prefill);
  timings.decode_seconds = QuantilesOf(sample.decode);
  timings.prefill_tokens_per_second = static_cast<double>(options.prefill_tokens) * static_cast<double>(sample.prefill.size()) / prefill;
  timings.decode_tokens_per_second = steps / decode;
  timings.routing_seconds = sample.decode_routing / steps;
  timings.routing_share = sample.decode_routing / decode;
  timings.prefill_routing_share = sample.prefill_routing / prefill;
  return timings;
}

bool IsFloat(DType dtype) { return dtype == DType::kF16 || dtype == DType::kBF16 || dtype == DType::kF32 || dtype == DType::kF64; }

// Kept for an expert that joins, or compared with; no token is multiplied by them.
bool IsNoFactor(const std::string& name) {
  return name.ends_with(".router.sample") || name.ends_with(".router.temperature") || name.ends_with(".router.threshold");
}

}  // namespace

double RouterFlops(const RouterArtifact& artifact) {
  double flops = 0;
  for (const auto& [name, tensor] : artifact.tensors->tensors()) {
    if (name.starts_with("probe.") || IsNoFactor(name) || !IsFloat(tensor.dtype)) continue;
    flops += 2.0 * static_cast<double>(tensor.elements());
  }
  return flops;
}

Flops CountFlops(const ModelConfig& config, const Contestant& contestant, const RouteRecord& record, int64_t context) {
  Flops flops;
  const double hidden = config.hidden_size, heads = static_cast<double>(config.num_heads) * config.head_dim;
  const double keys = static_cast<double>(config.num_kv_heads) * config.head_dim;
  const double layer =
      2 * hidden * (2 * heads + 2 * keys) + 2 * 3 * hidden * config.intermediate_size + 4 * heads * static_cast<double>(context);
  flops.base = layer * config.num_layers + 2 * hidden * config.vocab_size;
  flops.router = contestant.router_flops;
  if (record.rows() == 0 || record.layers.empty()) return flops;
  double selected = 0;
  for (const LayerRecord& routes : record.layers) {
    for (const int16_t expert : routes.experts) {
      if (expert != LayerTrace::kUnused) selected += contestant.expert_flops[static_cast<size_t>(expert)];
    }
  }
  flops.experts = selected / static_cast<double>(record.rows()) / static_cast<double>(record.layers.size());
  return flops;
}

Timing QuantilesOf(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto rank = [&](double share) {
    const auto at = static_cast<size_t>(std::ceil(share * static_cast<double>(values.size())));
    return values[std::clamp<size_t>(at, 1, values.size()) - 1];
  };
  return {.p50 = rank(0.5), .p99 = rank(0.99)};
}

StatusOr<std::vector<Timings>> MeasureTimings(ModelRunner& runner, const std::vector<const Contestant*>& contestants,
                                              std::span<const TokenId> text, const TimingOptions& options) {
  const auto length = static_cast<size_t>(options.prefill_tokens) + static_cast<size_t>(options.decode_steps);
  const int64_t room = int64_t{runner.kv().num_blocks} * runner.kv().block_tokens;
  if (static_cast<int64_t>(length) > room)
    return ResourceExhausted("prefill and decode take %d tokens, the KV pool holds %d", length, room);
  std::vector<TokenId> tokens(length);
  for (size_t i = 0; i < length; ++i) tokens[i] = text[i % text.size()];
  std::vector<int32_t> slots(length);
  std::iota(slots.begin(), slots.end(), 0);

  std::vector<Sample> samples(contestants.size());
  for (int32_t round = 0; round <= options.rounds; ++round) {
    for (size_t i = 0; i < contestants.size(); ++i) {
      Sample warm_up;
      RETURN_IF_ERROR(Measure(runner, *contestants[i], tokens, slots, options.prefill_tokens, round == 0 ? &warm_up : &samples[i]));
    }
  }
  std::vector<Timings> timings;
  for (const Sample& sample : samples) timings.push_back(Summarise(sample, options));
  return timings;
}

}  // namespace switchyard::trainer
