#include "engine/runtime/routing_policy.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace switchyard {
namespace {

// Room for the rounding of a sum of floats that are meant to add up to 1.
constexpr double kWeightSumSlack = 1e-6;

Status ValidateLearned(const RoutingPolicy& policy, const SnapshotInfo& info) {
  if (info.router_kind.empty()) return InvalidArgument("routing: learned routing was asked for, but the served model has no router");
  if (!policy.masked.empty() && policy.masked.size() != info.experts.size()) {
    return InvalidArgument("routing: the mask has %d entries, expected one for each of %d experts", policy.masked.size(),
                           info.experts.size());
  }
  return OkStatus();
}

Status ValidateMixture(const RoutingPolicy& policy, const SnapshotInfo& info) {
  if (policy.mixture.size() != info.experts.size()) {
    return InvalidArgument("routing: the mixture has %d weights, expected one for each of %d experts", policy.mixture.size(),
                           info.experts.size());
  }
  double sum = 0;
  for (size_t e = 0; e < policy.mixture.size(); ++e) {
    const float weight = policy.mixture[e];
    if (!std::isfinite(weight) || weight < 0) {
      return InvalidArgument("routing: the weight of expert \"%s\" is %g, expected a finite number >= 0", info.experts[e].name, weight);
    }
    sum += weight;
  }
  if (sum > 1 + kWeightSumSlack) return InvalidArgument("routing: the mixture's weights sum to %.7g, expected at most 1", sum);
  return OkStatus();
}

// Slots of one token in one layer: known experts, none twice, weights from 0 to 1. The sum may pass 1: routers that weight every choice with
// one do.
Status ValidateReplaySlots(const RoutingPolicy& policy, const SnapshotInfo& info, size_t begin) {
  const size_t k = policy.replay_k;
  const auto where = [&] { return absl::StrFormat("token %d, layer %d", begin / k / info.num_layers, begin / k % info.num_layers); };
  for (size_t i = begin; i < begin + k; ++i) {
    const ExpertIndex expert = policy.replay_experts[i];
    const float weight = policy.replay_weights[i];
    if (expert < kNoExpert || expert >= static_cast<int>(info.experts.size())) {
      return InvalidArgument("routing: replayed routes of %s name expert %d, expected 0 to %d, or -1 for an unused slot", where(), expert,
                             info.experts.size() - 1);
    }
    if (!(weight >= 0 && weight <= 1 + kWeightSumSlack)) {
      return InvalidArgument("routing: replayed routes of %s hold the weight %g, expected 0 to 1", where(), weight);
    }
    const auto first = policy.replay_experts.begin() + begin;
    if (expert != kNoExpert && std::find(first, first + (i - begin), expert) != first + (i - begin)) {
      return InvalidArgument("routing: replayed routes of %s name expert %d twice", where(), expert);
    }
  }
  return OkStatus();
}

Status ValidateReplay(const RoutingPolicy& policy, const SnapshotInfo& info, int64_t positions) {
  if (policy.replay_k < 1 || policy.replay_k > static_cast<int>(info.experts.size())) {
    return InvalidArgument("routing: replayed routes have %d slots a token, expected 1 to %d", policy.replay_k, info.experts.size());
  }
  const size_t per_token = static_cast<size_t>(info.num_layers) * policy.replay_k;
  if (policy.replay_experts.size() != policy.replay_weights.size() || policy.replay_experts.size() % per_token != 0) {
    return InvalidArgument("routing: replayed routes hold %d experts and %d weights, expected the same multiple of %d layers x %d slots",
                           policy.replay_experts.size(), policy.replay_weights.size(), info.num_layers, policy.replay_k);
  }
  const int64_t recorded = static_cast<int64_t>(policy.replay_experts.size() / per_token);
  if (recorded < positions) {
    return InvalidArgument("routing: replayed routes cover %d tokens, expected the %d tokens this request may compute", recorded,
                           positions);
  }
  for (size_t begin = 0; begin < policy.replay_experts.size(); begin += policy.replay_k) {
    RETURN_IF_ERROR(ValidateReplaySlots(policy, info, begin));
  }
  return OkStatus();
}

std::string LearnedKey(const std::vector<bool>& masked) {
  if (std::find(masked.begin(), masked.end(), true) == masked.end()) return "learned";
  std::string key = "learned;masked=";
  for (const bool m : masked) key += m ? '1' : '0';
  return key;
}

// The exact bits of every weight: two mixtures share a prefix only when they are the same numbers. -0 counts as 0.
std::string MixtureKey(const std::vector<float>& mixture) {
  std::string key = "mixture;";
  for (const float weight : mixture) key += absl::StrFormat("%08x,", std::bit_cast<uint32_t>(weight == 0 ? 0.0f : weight));
  return key;
}

}  // namespace

std::string RoutingPolicy::CacheKey() const {
  switch (mode) {
    case Mode::kLearned:
      return LearnedKey(masked);
    case Mode::kBaseOnly:
      return "base";
    case Mode::kForced:
      return absl::StrFormat("forced;%d", forced);
    case Mode::kMixture:
      return MixtureKey(mixture);
    case Mode::kReplay:
      return "replay";
  }
  return "unknown";
}

Status ValidatePolicy(const RoutingPolicy& policy, const SnapshotInfo& info, int64_t positions) {
  switch (policy.mode) {
    case RoutingPolicy::Mode::kLearned:
      return ValidateLearned(policy, info);
    case RoutingPolicy::Mode::kBaseOnly:
      return OkStatus();
    case RoutingPolicy::Mode::kForced:
      if (policy.forced < 0 || policy.forced >= static_cast<int>(info.experts.size())) {
        return InvalidArgument("routing: forced expert %d does not exist, the model has %d", policy.forced, info.experts.size());
      }
      return OkStatus();
    case RoutingPolicy::Mode::kMixture:
      return ValidateMixture(policy, info);
    case RoutingPolicy::Mode::kReplay:
      return ValidateReplay(policy, info, positions);
  }
  return InvalidArgument("routing: mode %d is unknown", static_cast<int>(policy.mode));
}

}  // namespace switchyard
