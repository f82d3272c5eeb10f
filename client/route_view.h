// Routes on a screen: a table of experts, a layer × expert heat map, and a strip of choices a token.
#pragma once

#include <string>

#include "client/terminal.h"
#include "switchyard/v1/inference.pb.h"

namespace switchyard::client {

// Shares of load and weight with bars, and the figures over all layers.
std::string ProfileTable(const v1::RouteProfile& profile, const Style& style);

// One row a layer, one column an expert: shaded by the expert's share of the layer's weight, with the percentage beside it. When the
// columns do not fit into `columns` of the screen, only the shades are drawn under letters, with a legend.
std::string HeatMap(const v1::Routes& routes, const v1::Generations& generations, const Style& style, size_t columns);

// One row a token: its strongest experts over the layers, mean entropy, smallest margin, and a strip with the first choice in each layer as
// a letter ("·" for the zero expert).
std::string TokenTable(const v1::Routes& routes, const v1::Generations& generations, const Style& style);

// Everything that `routes` holds, with headings.
std::string RoutesView(const v1::Routes& routes, const v1::Generations& generations, const Style& style, size_t columns);

}  // namespace switchyard::client
