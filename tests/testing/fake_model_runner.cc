#include "tests/testing/fake_model_runner.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace switchyard {
namespace {

uint64_t Mix(uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdull;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ull;
  return x ^ (x >> 33);
}

uint64_t HashText(const std::string& text) {
  uint64_t hash = 1469598103934665603ull;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  return hash;
}

// What a policy does at one position: replayed routes differ from token to token.
uint64_t PolicyHash(const SnapshotInfo& info, const RoutingPolicy& policy, int32_t position) {
  uint64_t hash = HashText(info.generation + policy.CacheKey());
  if (policy.mode != RoutingPolicy::Mode::kReplay) return hash;
  const size_t per_token = static_cast<size_t>(info.num_layers) * policy.replay_k;
  for (size_t i = position * per_token; i < (position + 1) * per_token && i < policy.replay_experts.size(); ++i) {
    hash = Mix(hash ^ (policy.replay_experts[i] + 7) ^ HashText(absl::StrFormat("%a", policy.replay_weights[i])));
  }
  return hash;
}

uint64_t Extend(uint64_t hash, TokenId token, int32_t position, uint64_t policy_hash) {
  return Mix(hash * 31 + Mix(static_cast<uint64_t>(token) * 1000003 + position) + policy_hash);
}

double LogSumExp(const std::vector<float>& logits) {
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
  return std::log(sum);
}

}  // namespace

namespace fake {

uint64_t PrefixHash(const SnapshotInfo& info, const RoutingPolicy& policy, std::span<const TokenId> tokens) {
  uint64_t hash = 0;
  for (size_t i = 0; i < tokens.size(); ++i) hash = Extend(hash, tokens[i], i, PolicyHash(info, policy, i));
  return hash;
}

std::vector<float> Logits(uint64_t hash, int32_t vocab_size) {
  std::vector<float> logits(vocab_size);
  for (int32_t v = 0; v < vocab_size; ++v) logits[v] = static_cast<float>(Mix(hash + v * 0x9e3779b97f4a7c15ull) >> 40) / (1 << 21) - 4.0f;
  return logits;
}

StepResult::LogProb LogProb(uint64_t hash, int32_t vocab_size, TokenId target) {
  const std::vector<float> logits = Logits(hash, vocab_size);
  const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
  return {.logprob = logits[target] - static_cast<float>(LogSumExp(logits)), .is_argmax = best == target};
}

std::vector<TokenLogProb> TopLogProbs(uint64_t hash, int32_t vocab_size, int32_t count) {
  const std::vector<float> logits = Logits(hash, vocab_size);
  std::vector<TokenId> order(vocab_size);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) { return logits[a] > logits[b]; });
  std::vector<TokenLogProb> top;
  for (int32_t i = 0; i < count; ++i) top.push_back({order[i], logits[order[i]] - static_cast<float>(LogSumExp(logits))});
  return top;
}

RouteTrace Routes(uint64_t hash, const SnapshotInfo& info, const RoutingPolicy& policy, int32_t position) {
  RouteTrace row{
      .rows = 1, .layers = info.num_layers, .k = std::max(info.top_k, 1), .experts = {}, .weights = {}, .margin = {}, .entropy = {}};
  const bool learned = policy.mode == RoutingPolicy::Mode::kLearned;
  for (int32_t layer = 0; layer < row.layers; ++layer) {
    const uint64_t draw = Mix(hash ^ (layer + 1));
    for (int32_t slot = 0; slot < row.k; ++slot) {
      ExpertIndex expert = kNoExpert;
      float weight = 0;
      if (learned) {
        expert = static_cast<ExpertIndex>((draw + slot) % info.experts.size());
        weight = slot == 0 ? 0.75f : 0.25f / (row.k - 1);
      } else if (policy.mode == RoutingPolicy::Mode::kForced && slot == 0) {
        expert = policy.forced;
        weight = 1;
      } else if (policy.mode == RoutingPolicy::Mode::kReplay && slot < policy.replay_k) {
        const size_t at = (static_cast<size_t>(position) * row.layers + layer) * policy.replay_k + slot;
        expert = policy.replay_experts[at];
        weight = policy.replay_weights[at];
      }
      row.experts.push_back(expert);
      row.weights.push_back(weight);
    }
    row.margin.push_back(learned ? 0.125f : std::numeric_limits<float>::infinity());
    row.entropy.push_back(learned ? static_cast<float>(draw % 1000) / 1000 : std::numeric_limits<float>::quiet_NaN());
  }
  return row;
}

}  // namespace fake

FakeModelRunner::FakeModelRunner(const Options& options)
    : options_(options), slots_(static_cast<size_t>(options.num_blocks) * options.block_tokens) {
  Swap("generation-1");
}

std::shared_ptr<const Snapshot> FakeModelRunner::snapshot() const {
  std::lock_guard lock(mutex_);
  return snapshot_;
}

void FakeModelRunner::Swap(const std::string& generation) {
  SnapshotInfo info;
  info.base_name = "fake";
  info.base_generation = "base-1";
  info.generation = generation;
  if (options_.has_router) {
    info.router_name = "router";
    info.router_kind = "linear";
    info.router_generation = "router-1";
    info.router_bytes = 3;
    info.top_k = options_.top_k;
    info.learned_experts = options_.num_experts;
  }
  for (int32_t e = 0; e < options_.num_experts; ++e) {
    const bool zero = e == options_.num_experts - 1;
    info.experts.push_back(
        {.name = zero ? "zero" : absl::StrFormat("expert-%d", e), .generation = "e", .is_zero = zero, .max_rank = 0, .bytes = 0});
  }
  info.num_layers = options_.num_layers;
  info.hidden_size = 8;
  info.vocab_size = options_.vocab_size;
  info.max_positions = options_.max_positions;
  info.eos_tokens = options_.eos_tokens;
  std::lock_guard lock(mutex_);
  snapshot_ = std::make_shared<FakeSnapshot>(std::move(info));
}

void FakeModelRunner::FailStep(uint64_t step) {
  std::lock_guard lock(mutex_);
  failing_steps_.insert(step);
}

void FakeModelRunner::FailSegment(uint64_t step, int32_t segment) {
  std::lock_guard lock(mutex_);
  failing_segments_[step] = segment;
}

void FakeModelRunner::PoisonStep(uint64_t step) {
  std::lock_guard lock(mutex_);
  poisoned_steps_.insert(step);
}

void FakeModelRunner::Hold() {
  std::lock_guard lock(mutex_);
  hold_ = true;
  passes_ = 0;
}

void FakeModelRunner::WaitUntilHeld() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return held_ && passes_ == 0; });
}

void FakeModelRunner::StepOnce() {
  {
    std::lock_guard lock(mutex_);
    ++passes_;
  }
  changed_.notify_all();
}

void FakeModelRunner::Resume() {
  {
    std::lock_guard lock(mutex_);
    hold_ = false;
  }
  changed_.notify_all();
}

std::vector<FakeModelRunner::StepRecord> FakeModelRunner::steps() const {
  std::lock_guard lock(mutex_);
  return steps_;
}

std::vector<std::string> FakeModelRunner::violations() const {
  std::lock_guard lock(mutex_);
  return violations_;
}

void FakeModelRunner::WaitWhileHeld() {
  std::unique_lock lock(mutex_);
  if (!hold_) return;
  held_ = true;
  changed_.notify_all();
  changed_.wait(lock, [this] { return !hold_ || passes_ > 0; });
  if (passes_ > 0) --passes_;
  held_ = false;
}

StatusOr<StepResult> FakeModelRunner::Run(const Step& step) {
  WaitWhileHeld();
  bool failing = false;
  bool poisoned = false;
  std::optional<int32_t> failing_segment;
  {
    std::lock_guard lock(mutex_);
    StepRecord record{.rows = static_cast<int32_t>(step.tokens.size()),
                      .segments = static_cast<int32_t>(step.segments.size()),
                      .single_row_segments = 0,
                      .log_prob_queries = static_cast<int32_t>(step.logprobs.size()),
                      .generation = step.snapshot->info().generation};
    for (const Segment& segment : step.segments) record.single_row_segments += segment.end - segment.begin == 1;
    if (options_.keep_steps) steps_.push_back(std::move(record));
    failing = failing_steps_.contains(steps_.size());
    poisoned = poisoned_steps_.contains(steps_.size());
    if (const auto found = failing_segments_.find(steps_.size()); found != failing_segments_.end()) failing_segment = found->second;
  }
  StatusOr<StepResult> result = Compute(step, poisoned);
  if (!result.ok()) {
    std::lock_guard lock(mutex_);
    violations_.emplace_back(Message(result.status()));
  }
  const auto spoil = [this](const Segment& segment) {
    for (const int32_t slot : segment.slots.last(segment.end - segment.begin)) slots_[slot].hash = 0xbad;
  };
  if (failing) {
    for (const Segment& segment : step.segments) spoil(segment);
    return Internal("the fake was told to fail this step");
  }
  if (failing_segment && result.ok()) {
    spoil(step.segments[*failing_segment]);
    result->failures.push_back({*failing_segment, Internal("the fake was told to fail this segment")});
  }
  return result;
}

StatusOr<StepResult> FakeModelRunner::Compute(const Step& step, bool poisoned) {
  RETURN_IF_ERROR(CheckShape(step));
  hashes_.assign(step.tokens.size(), 0);
  RETURN_IF_ERROR(Write(step));
  // Contexts come before their branches, so a row's history is complete when it is read.
  for (const Segment& segment : step.segments) RETURN_IF_ERROR(Attend(step, segment));
  return Answer(step, poisoned);
}

Status FakeModelRunner::CheckShape(const Step& step) const {
  int32_t row = 0;
  for (const Segment& segment : step.segments) {
    if (segment.begin != row || segment.end <= segment.begin)
      return Internal("segment [%d, %d) does not follow row %d", segment.begin, segment.end, row);
    if (segment.policy == nullptr) return Internal("a segment has no policy");
    const int64_t rows = segment.end - segment.begin;
    if (static_cast<int64_t>(segment.slots.size()) < rows)
      return Internal("a segment of %d rows lists %d slots", rows, segment.slots.size());
    if (static_cast<int64_t>(segment.slots.size()) > options_.max_positions)
      return Internal("a segment sees %d positions", segment.slots.size());
    for (const int32_t slot : segment.slots) {
      if (slot < 0 || slot >= static_cast<int64_t>(slots_.size())) return Internal("slot %d is outside the pool", slot);
    }
    if (std::set<int32_t>(segment.slots.begin(), segment.slots.end()).size() != segment.slots.size())
      return Internal("a segment lists a slot twice");
    row = segment.end;
  }
  if (row != static_cast<int64_t>(step.tokens.size())) return Internal("segments cover %d of %d rows", row, step.tokens.size());
  const auto bad_row = [&](const auto& query) { return query.row < 0 || query.row >= row; };
  if (std::any_of(step.logits.begin(), step.logits.end(), bad_row) || std::any_of(step.logprobs.begin(), step.logprobs.end(), bad_row) ||
      std::any_of(step.top_logprobs.begin(), step.top_logprobs.end(), bad_row)) {
    return Internal("a query names a row outside the step");
  }
  return OkStatus();
}

Status FakeModelRunner::Write(const Step& step) {
  std::set<int32_t> written;
  for (const Segment& segment : step.segments) {
    const size_t before = segment.slots.size() - (segment.end - segment.begin);
    for (int32_t row = segment.begin; row < segment.end; ++row) {
      const size_t position = before + (row - segment.begin);
      const int32_t slot = segment.slots[position];
      if (!written.insert(slot).second) return Internal("two rows of one step write slot %d", slot);
      slots_[slot] = {.written = true, .position = static_cast<int32_t>(position), .token = step.tokens[row], .hash = 0};
    }
  }
  return OkStatus();
}

Status FakeModelRunner::Attend(const Step& step, const Segment& segment) {
  const SnapshotInfo& info = step.snapshot->info();
  const size_t before = segment.slots.size() - (segment.end - segment.begin);
  uint64_t hash = 0;
  for (size_t position = 0; position < segment.slots.size(); ++position) {
    Slot& slot = slots_[segment.slots[position]];
    if (!slot.written) return Internal("position %d reads slot %d, which was never written", position, segment.slots[position]);
    if (slot.position != static_cast<int32_t>(position))
      return Internal("position %d reads a slot of position %d", position, slot.position);
    hash = Extend(hash, slot.token, position, PolicyHash(info, *segment.policy, position));
    if (position >= before) {
      slot.hash = hash;
      hashes_[segment.begin + (position - before)] = hash;
    } else if (slot.hash != hash) {
      return Internal("position %d reads a slot that was written after another history, or under another key", position);
    }
  }
  return OkStatus();
}

StepResult FakeModelRunner::Answer(const Step& step, bool poisoned) const {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const SnapshotInfo& info = step.snapshot->info();
  StepResult result;
  for (const LogitsQuery& query : step.logits) {
    result.logits.push_back(fake::Logits(hashes_[query.row], info.vocab_size));
    result.log_sum_exps.push_back(poisoned ? nan : static_cast<float>(LogSumExp(result.logits.back())));
    if (poisoned) std::fill(result.logits.back().begin(), result.logits.back().end(), nan);
  }
  for (const LogProbQuery& query : step.logprobs) {
    result.logprobs.push_back(fake::LogProb(hashes_[query.row], info.vocab_size, query.target));
    if (poisoned) result.logprobs.back().logprob = nan;
  }
  for (const TopLogProbsQuery& query : step.top_logprobs) {
    result.top_logprobs.push_back(fake::TopLogProbs(hashes_[query.row], info.vocab_size, query.count));
  }
  for (const Segment& segment : step.segments) {
    RouteTrace& trace = result.routes.emplace_back();
    const int32_t before = static_cast<int32_t>(segment.slots.size()) - (segment.end - segment.begin);
    for (int32_t row = segment.begin; row < segment.end; ++row) {
      const RouteTrace one = fake::Routes(hashes_[row], info, *segment.policy, before + row - segment.begin);
      const int32_t position = before + row - segment.begin;
      Count(one, info, &result.counts);
      if (position > 0)
        CountFlips(fake::Routes(slots_[segment.slots[position - 1]].hash, info, *segment.policy, position - 1), one, &result.counts);
      if (!segment.record_routes) continue;
      trace.layers = one.layers;
      trace.k = one.k;
      ++trace.rows;
      trace.experts.insert(trace.experts.end(), one.experts.begin(), one.experts.end());
      trace.weights.insert(trace.weights.end(), one.weights.begin(), one.weights.end());
      trace.margin.insert(trace.margin.end(), one.margin.begin(), one.margin.end());
      trace.entropy.insert(trace.entropy.end(), one.entropy.begin(), one.entropy.end());
    }
  }
  return result;
}

void FakeModelRunner::Count(const RouteTrace& routes, const SnapshotInfo& info, RouteCounts* counts) const {
  const size_t experts = info.experts.size();
  counts->tokens.resize(routes.layers * experts);
  counts->weight.resize(routes.layers * experts);
  counts->entropy_sum.resize(routes.layers);
  counts->entropy_rows.resize(routes.layers);
  counts->base_mass.resize(routes.layers);
  counts->rows.resize(routes.layers);
  counts->learned_tokens.resize(routes.layers * experts);
  counts->learned_weight.resize(routes.layers * experts);
  counts->pairs.resize(routes.layers);
  counts->flips.resize(routes.layers);
  for (int32_t layer = 0; layer < routes.layers; ++layer) {
    ++counts->rows[layer];
    counts->base_mass[layer] += 1;
    for (int32_t slot = 0; slot < routes.k; ++slot) {
      const ExpertIndex expert = routes.experts[layer * routes.k + slot];
      if (expert == kNoExpert) continue;
      const float weight = routes.weights[layer * routes.k + slot];
      ++counts->tokens[layer * experts + expert];
      counts->weight[layer * experts + expert] += weight;
      if (!std::isnan(routes.entropy[layer])) {
        ++counts->learned_tokens[layer * experts + expert];
        counts->learned_weight[layer * experts + expert] += weight;
      }
      if (!info.experts[expert].is_zero) counts->base_mass[layer] -= weight;
    }
    if (std::isnan(routes.entropy[layer])) continue;
    counts->entropy_sum[layer] += routes.entropy[layer];
    ++counts->entropy_rows[layer];
  }
}

void FakeModelRunner::CountFlips(const RouteTrace& before, const RouteTrace& here, RouteCounts* counts) {
  for (int32_t layer = 0; layer < here.layers; ++layer) {
    if (std::isnan(here.entropy[layer])) continue;
    ++counts->pairs[layer];
    counts->flips[layer] += before.experts[layer * before.k] != here.experts[layer * here.k];
  }
}

}  // namespace switchyard
