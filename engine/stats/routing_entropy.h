// How undecided a router is about single tokens.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "engine/stats/layer_trace.h"

namespace switchyard {

// -sum p ln p; 0 ln 0 is 0. Nats.
double EntropyOf(std::span<const double> probabilities);

// Mean over tokens of the entropy over all experts, `probabilities` [T, E] as the softmax after masking gave them. Absent for T = 0.
std::optional<double> RoutingEntropy(std::span<const double> probabilities, int32_t num_experts);
// The same / ln E: absent for one expert too.
std::optional<double> NormalisedRoutingEntropy(std::span<const double> probabilities, int32_t num_experts);

// Mean over tokens of the entropy of the renormalised weights of the selected experts, / ln(number selected). Tokens with fewer than two
// selected experts or no weight have none; absent when no token has one.
std::optional<double> SelectedEntropy(const LayerTrace& trace);

}  // namespace switchyard
