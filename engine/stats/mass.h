// How much weight the experts got, and how much stayed with the base block.
#pragma once

#include <optional>
#include <vector>

#include "engine/stats/layer_trace.h"

namespace switchyard {

// m_e: expert e's part of all weight given to experts. [num_experts]; empty when no weight was given.
std::vector<double> MassShare(const LayerTrace& trace);

// Mean over tokens of 1 - (weight on experts other than zero). `zero_expert` is its index, or -1. Absent without tokens.
std::optional<double> BaseMass(const LayerTrace& trace, int16_t zero_expert);

}  // namespace switchyard
