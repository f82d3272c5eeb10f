#include "engine/runner/step_routes.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <utility>

#include "engine/routing/selection.h"
#include "engine/tensor/rows.h"

namespace switchyard {

namespace {

bool IsLearned(const Segment& segment) { return segment.policy->mode == RoutingPolicy::Mode::kLearned; }

// Experts with weight, heaviest first, lowest index on ties.
std::vector<ExpertIndex> HeaviestFirst(const std::vector<float>& mixture) {
  std::vector<ExpertIndex> order;
  for (size_t e = 0; e < mixture.size(); ++e) {
    if (mixture[e] > 0) order.push_back(static_cast<ExpertIndex>(e));
  }
  std::stable_sort(order.begin(), order.end(), [&](ExpertIndex a, ExpertIndex b) { return mixture[a] > mixture[b]; });
  return order;
}

RouteTrace MakeTrace(int32_t rows, int32_t layers, int32_t k) {
  RouteTrace trace;
  trace.rows = rows;
  trace.layers = layers;
  trace.k = k;
  trace.experts.resize(static_cast<size_t>(rows) * layers * k);
  trace.weights.resize(trace.experts.size());
  trace.margin.resize(static_cast<size_t>(rows) * layers);
  trace.entropy.resize(trace.margin.size());
  return trace;
}

// Rows of the segments that route by themselves, as one matrix; x itself when that is all of them.
at::Tensor LearnedRows(const Step& step, const at::Tensor& x) {
  std::vector<int32_t> rows;
  for (const Segment& segment : step.segments) {
    for (int32_t row = segment.begin; IsLearned(segment) && row < segment.end; ++row) rows.push_back(row);
  }
  return static_cast<int64_t>(rows.size()) == x.size(0) ? x : GatherRows(x, rows);
}

// Their token ids.
std::vector<TokenId> LearnedTokens(const Step& step) {
  std::vector<TokenId> tokens;
  for (const Segment& segment : step.segments) {
    if (IsLearned(segment)) tokens.insert(tokens.end(), step.tokens.begin() + segment.begin, step.tokens.begin() + segment.end);
  }
  return tokens;
}

}  // namespace

int32_t PolicySlots(const RoutingPolicy& policy, int32_t learned_k) {
  switch (policy.mode) {
    case RoutingPolicy::Mode::kLearned:
      return std::max(1, learned_k);
    case RoutingPolicy::Mode::kMixture:
      return std::max<int32_t>(
          1, static_cast<int32_t>(std::count_if(policy.mixture.begin(), policy.mixture.end(), [](float w) { return w > 0; })));
    case RoutingPolicy::Mode::kReplay:
      return std::max(1, policy.replay_k);
    case RoutingPolicy::Mode::kBaseOnly:
    case RoutingPolicy::Mode::kForced:
      return 1;
  }
  return 1;
}

StepRoutes::StepRoutes(const Step& step, const SnapshotInfo& info, const Router* router, BestExperts* best)
    : step_(step), info_(info), router_(router), best_(best) {
  const size_t layers = static_cast<size_t>(info.num_layers), pairs = layers * info.experts.size();
  counts_.tokens.resize(pairs);
  counts_.weight.resize(pairs);
  counts_.learned_tokens.resize(pairs);
  counts_.learned_weight.resize(pairs);
  counts_.pairs.resize(layers);
  counts_.flips.resize(layers);
  counts_.entropy_sum.resize(layers);
  counts_.entropy_rows.resize(layers);
  counts_.base_mass.resize(layers);
  counts_.rows.resize(layers);
  if (router != nullptr && router->vocabulary() > 0) learned_tokens_ = LearnedTokens(step);
  traces_.resize(step.segments.size());
  mixture_order_.resize(step.segments.size());
  for (size_t i = 0; i < step.segments.size(); ++i) {
    const Segment& segment = step.segments[i];
    const int32_t slots = PolicySlots(*segment.policy, info.top_k);
    slots_ = std::max(slots_, slots);
    if (segment.record_routes) traces_[i] = MakeTrace(segment.end - segment.begin, info.num_layers, slots);
    if (segment.policy->mode == RoutingPolicy::Mode::kMixture) mixture_order_[i] = HeaviestFirst(segment.policy->mixture);
  }
}

Status StepRoutes::Route(int32_t layer, const at::Tensor& x, LayerRoutes* routes) {
  const auto start = std::chrono::steady_clock::now();
  const Status status = RouteAll(layer, x, routes);
  seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return status;
}

Status StepRoutes::RouteAll(int32_t layer, const at::Tensor& x, LayerRoutes* routes) {
  routes->Resize(x.size(0), slots_);
  RETURN_IF_ERROR(RouteLearned(layer, x, routes));
  for (const Segment& segment : step_.segments) {
    if (!IsLearned(segment)) RouteFixed(layer, segment, routes);
  }
  Count(layer, *routes);
  CountFlips(layer, *routes);
  Trace(layer, *routes);
  return OkStatus();
}

Status StepRoutes::RouteLearned(int32_t layer, const at::Tensor& x, LayerRoutes* routes) {
  if (std::none_of(step_.segments.begin(), step_.segments.end(), IsLearned)) return OkStatus();
  const at::Tensor logits = router_->Logits(layer, {LearnedRows(step_, x), learned_tokens_});
  const float* next = logits.const_data_ptr<float>();
  const size_t experts = info_.experts.size();
  for (size_t i = 0; i < step_.segments.size(); ++i) {
    const Segment& segment = step_.segments[i];
    if (!IsLearned(segment)) continue;
    for (int32_t row = segment.begin; row < segment.end; ++row, next += experts) {
      const Status selected = SelectRow({next, experts}, router_->rule(), segment.policy->masked, row, routes,
                                        router_->SelectionBias(layer), router_->SelectionFloor(layer));
      if (!selected.ok()) return Annotate(selected, absl::StrFormat("layer %d, segment %d, row %d", layer, i, row));
      if (segment.record_probabilities) KeepProbabilities(layer, i, row - segment.begin, {next, experts});
    }
  }
  return OkStatus();
}

void StepRoutes::KeepProbabilities(int32_t layer, size_t segment, int32_t row, std::span<const float> logits) {
  RouteTrace& trace = traces_[segment];
  if (trace.rows == 0) return;  // routes were not asked for
  trace.probabilities.resize(static_cast<size_t>(trace.rows) * trace.layers * logits.size());
  const std::vector<bool>& masked = step_.segments[segment].policy->masked;
  float* out = trace.probabilities.data() + (static_cast<size_t>(row) * trace.layers + layer) * logits.size();
  float top = -std::numeric_limits<float>::infinity();
  for (size_t e = 0; e < logits.size(); ++e) {
    if (masked.empty() || !masked[e]) top = std::max(top, logits[e]);
  }
  if (std::isinf(top)) return;  // nothing is routable
  double sum = 0;
  for (size_t e = 0; e < logits.size(); ++e) {
    out[e] = masked.empty() || !masked[e] ? std::exp(logits[e] - top) : 0.0f;
    sum += out[e];
  }
  for (size_t e = 0; e < logits.size(); ++e) out[e] = static_cast<float>(out[e] / sum);
}

void StepRoutes::RouteFixed(int32_t layer, const Segment& segment, LayerRoutes* routes) const {
  const RoutingPolicy& policy = *segment.policy;
  const std::vector<ExpertIndex>& order = mixture_order_[static_cast<size_t>(&segment - step_.segments.data())];
  const int32_t first = static_cast<int32_t>(segment.slots.size()) - (segment.end - segment.begin);
  for (int32_t row = segment.begin; row < segment.end; ++row) {
    int16_t* experts = routes->experts.data() + static_cast<int64_t>(row) * routes->k;
    float* weights = routes->weights.data() + static_cast<int64_t>(row) * routes->k;
    if (policy.mode == RoutingPolicy::Mode::kForced) {
      experts[0] = policy.forced;
      weights[0] = 1;
    } else if (policy.mode == RoutingPolicy::Mode::kMixture) {
      for (size_t s = 0; s < order.size(); ++s) {
        experts[s] = order[s];
        weights[s] = policy.mixture[order[s]];
      }
    } else if (policy.mode == RoutingPolicy::Mode::kReplay) {
      const int64_t at = (static_cast<int64_t>(first + row - segment.begin) * info_.num_layers + layer) * policy.replay_k;
      std::copy_n(policy.replay_experts.begin() + at, policy.replay_k, experts);
      for (int32_t s = 0; s < policy.replay_k; ++s) weights[s] = experts[s] == kNoExpert ? 0 : policy.replay_weights[at + s];
    }
  }
}

void StepRoutes::Count(int32_t layer, const LayerRoutes& routes) {
  const size_t experts = info_.experts.size();
  uint64_t* tokens = counts_.tokens.data() + layer * experts;
  double* weight = counts_.weight.data() + layer * experts;
  uint64_t* learned_tokens = counts_.learned_tokens.data() + layer * experts;
  double* learned_weight = counts_.learned_weight.data() + layer * experts;
  for (int64_t row = 0; row < routes.rows; ++row) {
    const bool learned = !std::isnan(routes.entropy[row]);
    double given = 0;
    for (int64_t slot = row * routes.k; slot < (row + 1) * routes.k; ++slot) {
      const int16_t expert = routes.experts[slot];
      if (expert == LayerRoutes::kUnused) continue;
      ++tokens[expert];
      weight[expert] += routes.weights[slot];
      if (learned) {
        ++learned_tokens[expert];
        learned_weight[expert] += routes.weights[slot];
      }
      if (!info_.experts[expert].is_zero) given += routes.weights[slot];
    }
    counts_.base_mass[layer] += 1 - given;
    if (!learned) continue;
    counts_.entropy_sum[layer] += routes.entropy[row];
    ++counts_.entropy_rows[layer];
  }
  counts_.rows[layer] += static_cast<uint64_t>(routes.rows);
}

// All rows are written down before any is compared: a branch's context may be rows of the same step.
void StepRoutes::CountFlips(int32_t layer, const LayerRoutes& routes) {
  const std::span<int16_t> best = best_->layer(layer);
  const auto best_of = [&](int32_t row) { return routes.experts[static_cast<int64_t>(row) * routes.k]; };
  const auto first_position = [](const Segment& segment) {
    return static_cast<int32_t>(segment.slots.size()) - (segment.end - segment.begin);
  };
  for (const Segment& segment : step_.segments) {
    const int32_t first = first_position(segment);
    for (int32_t row = segment.begin; row < segment.end; ++row) best[segment.slots[first + row - segment.begin]] = best_of(row);
  }
  for (const Segment& segment : step_.segments) {
    for (int32_t row = segment.begin; row < segment.end; ++row) {
      const int32_t position = first_position(segment) + row - segment.begin;
      if (position == 0 || std::isnan(routes.entropy[row])) continue;
      const int16_t before = best[segment.slots[position - 1]], here = best_of(row);
      if (before == BestExperts::kNone && here == BestExperts::kNone) continue;
      ++counts_.pairs[layer];
      counts_.flips[layer] += before != here;
    }
  }
}

void StepRoutes::Trace(int32_t layer, const LayerRoutes& routes) {
  for (size_t i = 0; i < step_.segments.size(); ++i) {
    const Segment& segment = step_.segments[i];
    RouteTrace& trace = traces_[i];
    if (!segment.record_routes) continue;
    for (int32_t row = 0; row < trace.rows; ++row) {
      const int64_t from = static_cast<int64_t>(segment.begin + row), to = static_cast<int64_t>(row) * trace.layers + layer;
      std::copy_n(routes.experts.begin() + from * routes.k, trace.k, trace.experts.begin() + to * trace.k);
      std::copy_n(routes.weights.begin() + from * routes.k, trace.k, trace.weights.begin() + to * trace.k);
      trace.margin[to] = routes.margin[from];
      trace.entropy[to] = routes.entropy[from];
    }
  }
}

void StepRoutes::Finish(StepResult* result) {
  result->routes = std::move(traces_);
  result->counts = std::move(counts_);
  result->routing_seconds = seconds_;
}

}  // namespace switchyard
