// Do two experts see the same tokens?
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/stats/layer_trace.h"

namespace switchyard {

// Mean Jaccard overlap over pairs of experts. A pair of which both sets are empty is skipped, since it says nothing; with one empty it is
// 0.
struct Overlap {
  std::optional<double> mean;  // [0, 1]; absent when no pair could be used
  int64_t pairs = 0;           // used
};

// Of given sets, each sorted and without duplicates.
Overlap MeanPairwiseOverlap(const std::vector<std::vector<int32_t>>& sets);

// Sets of positions: identically 0 for k = 1.
Overlap PositionOverlap(const LayerTrace& trace);
// What PositionOverlap tends to when each token draws k different ones of E experts: (k - 1) / (2 (E - 1) - (k - 1)). Absent for fewer than
// two experts and for k outside 1 .. E.
std::optional<double> ChancePositionOverlap(int32_t num_experts, int32_t k);
// Sets of token ids: meaningful for k = 1 too. REQUIRES: trace.tokens.
Overlap VocabularyOverlap(const LayerTrace& trace);

}  // namespace switchyard
