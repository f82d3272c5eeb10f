// --routing on the command line: how a request chooses its experts.
#pragma once

#include <string_view>

#include "engine/base/status.h"
#include "switchyard/v1/inference.pb.h"

namespace switchyard::client {

// What the option takes, for --help and for errors.
inline constexpr std::string_view kRoutingForms = "learned | base | expert=NAME | mixture=NAME:WEIGHT,... | mask=NAME,...";

// learned (and ""): the router decides; base: no expert at all; expert=NAME: this one with weight 1 everywhere; mixture=a:0.5,b:0.25: fixed
// weights, the rest stays with the base; mask=a,b: the router decides, but never for these. INVALID_ARGUMENT names the part that is wrong.
StatusOr<v1::Routing> ParseRouting(std::string_view text);

// none | summary | layer | token
StatusOr<v1::RouteLevel> ParseRouteLevel(std::string_view text);

}  // namespace switchyard::client
