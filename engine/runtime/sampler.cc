#include "engine/runtime/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace switchyard {
namespace {

// SplitMix64's finaliser: every input bit reaches every output bit.
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

// Index of the largest logit, the lowest on ties. INTERNAL for values no model may give.
StatusOr<TokenId> CheckedArgmax(std::span<const float> logits) {
  TokenId best = -1;
  float best_logit = -std::numeric_limits<float>::infinity();
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i]) || logits[i] == std::numeric_limits<float>::infinity()) {
      return Internal("the model's logit of token %d is %g, expected a number", i, logits[i]);
    }
    if (logits[i] > best_logit) {
      best_logit = logits[i];
      best = static_cast<TokenId>(i);
    }
  }
  if (best < 0) return Internal("the model gave no token of %d a finite logit", logits.size());
  return best;
}

}  // namespace

double CounterUniform(uint64_t seed, uint64_t position) {
  return static_cast<double>(Mix(Mix(seed) ^ Mix(position + 0x632be59bd9b4e019ull)) >> 11) * 0x1.0p-53;
}

Status ValidateSampling(const SamplingParams& params) {
  if (!std::isfinite(params.temperature) || params.temperature < 0) {
    return InvalidArgument("sampling: temperature is %g, expected a finite number >= 0", params.temperature);
  }
  if (params.top_k < 0) return InvalidArgument("sampling: top_k is %d, expected 0 (off) or more", params.top_k);
  if (!(params.top_p > 0 && params.top_p <= 1)) return InvalidArgument("sampling: top_p is %g, expected a number in (0, 1]", params.top_p);
  if (!(params.min_p >= 0 && params.min_p < 1)) return InvalidArgument("sampling: min_p is %g, expected a number in [0, 1)", params.min_p);
  if (!std::isfinite(params.repetition_penalty) || params.repetition_penalty <= 0) {
    return InvalidArgument("sampling: repetition_penalty is %g, expected a finite number > 0", params.repetition_penalty);
  }
  return OkStatus();
}

Sampler::Sampler(const SamplingParams& params, std::span<const TokenId> prompt) : params_(params) {
  for (const TokenId token : prompt) Remember(token);
}

void Sampler::Remember(TokenId token) {
  if (params_.repetition_penalty == 1.0f) return;
  if (static_cast<size_t>(token) >= seen_.size()) seen_.resize(token + 1, false);
  if (seen_[token]) return;
  seen_[token] = true;
  seen_tokens_.push_back(token);
}

StatusOr<TokenId> Sampler::Next(std::span<const float> logits, int64_t position) {
  ASSIGN_OR_RETURN(TokenId token, CheckedArgmax(logits));
  std::span<const float> used = logits;
  if (!seen_tokens_.empty()) {
    penalised_.assign(logits.begin(), logits.end());
    Penalise();
    used = penalised_;
    ASSIGN_OR_RETURN(token, CheckedArgmax(used));
  }
  if (params_.temperature > 0) {
    candidates_.clear();
    for (size_t i = 0; i < used.size(); ++i) {
      // Relative to the best, so that a tiny temperature overflows to -infinity (never drawn) and not to NaN.
      const float logit = (used[i] - used[token]) / params_.temperature;
      if (std::isfinite(logit)) candidates_.push_back({logit, static_cast<TokenId>(i)});
    }
    KeepTopK();
    KeepTopP();
    KeepMinP();
    token = Draw(position);
  }
  Remember(token);
  return token;
}

void Sampler::Penalise() {
  for (const TokenId token : seen_tokens_) {
    if (static_cast<size_t>(token) >= penalised_.size()) continue;
    float& logit = penalised_[token];
    logit = logit > 0 ? logit / params_.repetition_penalty : logit * params_.repetition_penalty;
  }
}

// As transformers: everything below the k-th largest goes, so ties with it stay.
void Sampler::KeepTopK() {
  if (params_.top_k == 0 || static_cast<size_t>(params_.top_k) >= candidates_.size()) return;
  const auto kth = candidates_.begin() + (params_.top_k - 1);
  std::nth_element(candidates_.begin(), kth, candidates_.end(), [](const Candidate& a, const Candidate& b) { return a.logit > b.logit; });
  const float threshold = kth->logit;
  std::erase_if(candidates_, [&](const Candidate& c) { return c.logit < threshold; });
}

// The smallest set of the most likely tokens whose probabilities sum to top_p or more; at least one.
void Sampler::KeepTopP() {
  if (params_.top_p >= 1) return;
  double total = 0;
  for (const Candidate& c : candidates_) total += std::exp(static_cast<double>(c.logit));
  const auto more_likely = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
  };
  // The head is sorted in growing pieces: a vocabulary is long and the set usually short.
  double cumulative = 0;
  size_t sorted = 0;
  for (size_t piece = 128; sorted < candidates_.size(); piece *= 4) {
    const size_t end = std::min(candidates_.size(), sorted + piece);
    std::partial_sort(candidates_.begin() + sorted, candidates_.begin() + end, candidates_.end(), more_likely);
    for (; sorted < end; ++sorted) {
      cumulative += std::exp(static_cast<double>(candidates_[sorted].logit));
      if (cumulative >= params_.top_p * total) {
        candidates_.resize(sorted + 1);
        return;
      }
    }
  }
}

// Keeps tokens at least min_p times as likely as the most likely one.
void Sampler::KeepMinP() {
  if (params_.min_p <= 0) return;
  float best = -std::numeric_limits<float>::infinity();
  for (const Candidate& c : candidates_) best = std::max(best, c.logit);
  const double threshold = best + std::log(static_cast<double>(params_.min_p));
  std::erase_if(candidates_, [&](const Candidate& c) { return c.logit < threshold; });
}

TokenId Sampler::Draw(int64_t position) {
  // In the order of token ids, whatever order the filters left. Without filters that is the order they are in, and there are many.
  const auto lower_id = [](const Candidate& a, const Candidate& b) { return a.token < b.token; };
  if (!std::is_sorted(candidates_.begin(), candidates_.end(), lower_id)) std::sort(candidates_.begin(), candidates_.end(), lower_id);
  double total = 0;
  for (const Candidate& c : candidates_) total += std::exp(static_cast<double>(c.logit));
  const double target = CounterUniform(params_.seed, static_cast<uint64_t>(position)) * total;
  double cumulative = 0;
  for (const Candidate& c : candidates_) {
    cumulative += std::exp(static_cast<double>(c.logit));
    if (cumulative > target) return c.token;
  }
  return candidates_.back().token;
}

}  // namespace switchyard
