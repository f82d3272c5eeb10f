#include "client/routing_option.h"

#include <charconv>
#include <cmath>
#include <string>
#include <vector>

namespace switchyard::client {
namespace {

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(separator, at), text.size());
    parts.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

Status ParseMixture(std::string_view text, v1::Routing::Mixture* mixture) {
  double sum = 0;
  for (const std::string_view part : Split(text, ',')) {
    const size_t colon = part.rfind(':');
    if (colon == std::string_view::npos || colon == 0) {
      return InvalidArgument("--routing mixture: expected NAME:WEIGHT, found \"%s\"", part);
    }
    const std::string name(part.substr(0, colon));
    const std::string_view number = part.substr(colon + 1);
    float weight = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), weight);
    if (error != std::errc() || end != number.data() + number.size() || !std::isfinite(weight) || weight < 0) {
      return InvalidArgument("--routing mixture: the weight of %s must be a number of at least 0, found \"%s\"", name, number);
    }
    if (!mixture->mutable_weights()->insert({name, weight}).second) return InvalidArgument("--routing mixture: %s is named twice", name);
    sum += weight;
  }
  if (sum > 1 + 1e-6) return InvalidArgument("--routing mixture: the weights add up to %g, at most 1 is allowed", sum);
  return OkStatus();
}

Status ParseMask(std::string_view text, v1::Routing::Learned* learned) {
  for (const std::string_view name : Split(text, ',')) {
    if (name.empty()) return InvalidArgument("--routing mask: expected NAME,NAME,..., found \"%s\"", text);
    learned->add_masked_experts(std::string(name));
  }
  return OkStatus();
}

}  // namespace

StatusOr<v1::Routing> ParseRouting(std::string_view text) {
  v1::Routing routing;
  const size_t equals = text.find('=');
  const std::string_view kind = text.substr(0, equals);
  const std::string_view value = equals == std::string_view::npos ? std::string_view() : text.substr(equals + 1);
  const bool bare = equals == std::string_view::npos;
  if (bare && (kind.empty() || kind == "learned")) {
    routing.mutable_learned();
  } else if (bare && kind == "base") {
    routing.mutable_base_only();
  } else if (kind == "expert" && !value.empty()) {
    routing.set_forced_expert(std::string(value));
  } else if (kind == "mixture" && !value.empty()) {
    RETURN_IF_ERROR(ParseMixture(value, routing.mutable_mixture()));
  } else if (kind == "mask" && !value.empty()) {
    RETURN_IF_ERROR(ParseMask(value, routing.mutable_learned()));
  } else {
    return InvalidArgument("--routing: expected %s, found \"%s\"", kRoutingForms, text);
  }
  return routing;
}

StatusOr<v1::RouteLevel> ParseRouteLevel(std::string_view text) {
  if (text == "none") return v1::ROUTE_LEVEL_NONE;
  if (text == "summary") return v1::ROUTE_LEVEL_SUMMARY;
  if (text == "layer") return v1::ROUTE_LEVEL_LAYER;
  if (text == "token") return v1::ROUTE_LEVEL_TOKEN;
  return InvalidArgument("a route level is none, summary, layer or token, found \"%s\"", text);
}

}  // namespace switchyard::client
