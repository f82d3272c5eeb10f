// Does the choice stay the same: from one token to the next, or from one checkpoint to another?
#pragma once

#include <optional>
#include <span>

#include "engine/stats/layer_trace.h"

namespace switchyard {

// Over pairs of neighbouring tokens of one sequence.
std::optional<double> SequentialConsistency(const LayerTrace& trace);  // part of the pairs with the same best expert; absent without pairs
// Chance level of the same: the sum of squared `shares`, LoadFigures' of the first slot. Absent for no shares.
std::optional<double> ChanceConsistency(std::span<const double> shares);
// Mean Jaccard overlap of the selected sets; a pair of which both are empty is skipped. For k = 1 the same as the above.
std::optional<double> TopKOverlap(const LayerTrace& trace);

// Two routers over the same tokens with the same expert indices.
struct Agreement {
  std::optional<double> same_set;      // part of the tokens with the same selected set
  std::optional<double> same_best;     // with the same best expert
  std::optional<double> mean_jaccard;  // tokens where both select nothing are skipped
};
// All absent for no tokens, or when the traces differ in length.
Agreement CompareRoutes(const LayerTrace& a, const LayerTrace& b);

}  // namespace switchyard
