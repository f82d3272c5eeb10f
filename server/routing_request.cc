#include "server/routing_request.h"

#include <algorithm>
#include <cmath>

namespace switchyard {
namespace {

// A caller's text for a message: the front of it, whole characters only. A message is UTF-8 on the wire; a cut character in one reply would
// end a whole ScoreStream.
std::string Shown(const std::string& text) {
  size_t end = std::min<size_t>(text.size(), 100);
  while (end < text.size() && end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end);
}

StatusOr<ExpertIndex> ExpertByName(const SnapshotInfo& info, const std::string& name) {
  std::string known;
  for (size_t i = 0; i < info.experts.size(); ++i) {
    if (info.experts[i].name == name) return static_cast<ExpertIndex>(i);
    known += (known.empty() ? "" : ", ") + info.experts[i].name;
  }
  return NotFound("routing: expert \"%s\" is not served; known experts: %s", Shown(name), known.empty() ? "none" : known);
}

Status FillReplay(const v1::Routing::Replay& replay, const SnapshotInfo& info, RoutingPolicy* policy) {
  // Every slot is stored for every token and layer: both lengths are bounded before anything is allocated.
  if (replay.tokens_size() > info.max_positions) {
    return InvalidArgument("routing.replay: %d tokens, the model takes at most %d", replay.tokens_size(), info.max_positions);
  }
  for (int t = 0; t < replay.tokens_size(); ++t) {
    for (const v1::LayerRoute& layer : replay.tokens(t).layers()) {
      if (layer.experts_size() > static_cast<int>(info.experts.size())) {
        return InvalidArgument("routing.replay.tokens[%d]: a layer names %d experts, the model has %d", t, layer.experts_size(),
                               info.experts.size());
      }
      policy->replay_k = std::max(policy->replay_k, layer.experts_size());
    }
  }
  policy->replay_k = std::max(policy->replay_k, 1);
  for (int t = 0; t < replay.tokens_size(); ++t) {
    const v1::TokenRoute& token = replay.tokens(t);
    if (token.layers_size() != info.num_layers) {
      return InvalidArgument("routing.replay.tokens[%d]: expected routes of %d layers, found %d", t, info.num_layers, token.layers_size());
    }
    for (int l = 0; l < token.layers_size(); ++l) {
      const v1::LayerRoute& layer = token.layers(l);
      if (layer.experts_size() != layer.weights_size()) {
        return InvalidArgument("routing.replay.tokens[%d].layers[%d]: %d experts but %d weights", t, l, layer.experts_size(),
                               layer.weights_size());
      }
      for (int slot = 0; slot < policy->replay_k; ++slot) {
        const bool used = slot < layer.experts_size();
        if (used && (layer.experts(slot) < 0 || layer.experts(slot) >= static_cast<int>(info.experts.size()))) {
          return InvalidArgument("routing.replay.tokens[%d].layers[%d]: expert index %d, expected [0, %d)", t, l, layer.experts(slot),
                                 info.experts.size());
        }
        policy->replay_experts.push_back(used ? static_cast<ExpertIndex>(layer.experts(slot)) : kNoExpert);
        policy->replay_weights.push_back(used ? layer.weights(slot) : 0.0f);
      }
    }
  }
  return OkStatus();
}

}  // namespace

StatusOr<RoutingPolicy> PolicyOf(const v1::Routing& routing, const SnapshotInfo& info) {
  RoutingPolicy policy;
  switch (routing.mode_case()) {
    case v1::Routing::kBaseOnly:
      policy.mode = RoutingPolicy::Mode::kBaseOnly;
      return policy;
    case v1::Routing::kForcedExpert: {
      policy.mode = RoutingPolicy::Mode::kForced;
      ASSIGN_OR_RETURN(policy.forced, ExpertByName(info, routing.forced_expert()));
      return policy;
    }
    case v1::Routing::kMixture: {
      policy.mode = RoutingPolicy::Mode::kMixture;
      policy.mixture.assign(info.experts.size(), 0.0f);
      if (routing.mixture().weights().empty()) return InvalidArgument("routing.mixture: expected at least one weight");
      double sum = 0;
      for (const auto& [name, weight] : routing.mixture().weights()) {
        ASSIGN_OR_RETURN(const ExpertIndex index, ExpertByName(info, name));
        if (!std::isfinite(weight) || weight < 0)
          return InvalidArgument("routing.mixture: weight of \"%s\" must be finite and >= 0, found %g", Shown(name), weight);
        policy.mixture[index] = weight;
        sum += weight;
      }
      if (sum > 1 + 1e-6) return InvalidArgument("routing.mixture: weights must sum to at most 1, found %g", sum);
      return policy;
    }
    case v1::Routing::kReplay: {
      policy.mode = RoutingPolicy::Mode::kReplay;
      RETURN_IF_ERROR(FillReplay(routing.replay(), info, &policy));
      return policy;
    }
    case v1::Routing::kLearned: {
      if (routing.learned().masked_experts().empty()) break;
      policy.masked.assign(info.experts.size(), false);
      for (const std::string& name : routing.learned().masked_experts()) {
        ASSIGN_OR_RETURN(const ExpertIndex index, ExpertByName(info, name));
        policy.masked[index] = true;
      }
      break;
    }
    case v1::Routing::MODE_NOT_SET:
      break;
  }
  if (info.router_kind.empty()) {
    // Without experts there is nothing to learn to choose: the base answers. With experts and no router the caller must say how to route.
    if (info.experts.empty() && routing.mode_case() == v1::Routing::MODE_NOT_SET) {
      policy.mode = RoutingPolicy::Mode::kBaseOnly;
      return policy;
    }
    return FailedPrecondition("routing: this server has no router; ask for base_only, forced_expert or mixture");
  }
  policy.mode = RoutingPolicy::Mode::kLearned;
  return policy;
}

Status CheckLevel(v1::RouteLevel level, const char* field) {
  if (v1::RouteLevel_IsValid(level)) return OkStatus();
  return InvalidArgument("%s: %d is not a level; expected 0 to %d", field, static_cast<int>(level), static_cast<int>(v1::RouteLevel_MAX));
}

Status CheckPins(const v1::PinnedGenerations& pinned, const SnapshotInfo& info) {
  struct Pin {
    const char* what;
    const std::string& wanted;
    const std::string& served;
  };
  for (const Pin& pin : {Pin{"snapshot", pinned.snapshot(), info.generation}, Pin{"base", pinned.base(), info.base_generation},
                         Pin{"router", pinned.router(), info.router_generation}}) {
    if (!pin.wanted.empty() && pin.wanted != pin.served) {
      return FailedPrecondition("pinned.%s: pinned to %s, served is %s", pin.what, Shown(pin.wanted),
                                pin.served.empty() ? "none" : pin.served);
    }
  }
  return OkStatus();
}

}  // namespace switchyard
