// Hash routers (Roller et al., 2106.04426): a table a layer from token id to expert. Nothing is learned, which makes them the control for
// whether learning matters.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "trainer/data/example.h"
#include "trainer/nn/base_weights.h"
#include "trainer/nn/lora.h"
#include "trainer/run/router_assembly.h"

namespace switchyard::trainer {

struct HashOptions {
  std::string name = "router";
  // "balanced": from the most frequent id down, each to the expert with the fewest tokens so far. "frequency": bands of equal traffic, the
  // most frequent ids to the first expert, the rarest to the last; the same in every layer. "random": equally many ids an expert, drawn.
  std::string table = "balanced";
  uint64_t seed = 1;
};

// [vocabulary] how often each id occurs in `data`. OUT_OF_RANGE when an id is outside the vocabulary.
StatusOr<std::vector<int64_t>> CountTokens(const Dataset& data, int32_t vocabulary);

// The expert of each id in one layer, [counts.size()]. Ids of equal count, and experts of equal load, are ordered by seed and layer.
// INVALID_ARGUMENT for an unknown table, and when all counts are 0 where they matter. REQUIRES: experts >= 1.
StatusOr<std::vector<int32_t>> MakeHashTable(const HashOptions& options, std::span<const int64_t> counts, int32_t experts, int32_t layer);

// Bound to base and experts, the zero expert one of them. With data its load shares are the tables' own. No golden probes: those are hidden
// states, which it does not look at.
StatusOr<RouterAssembly> MakeHashRouter(const HashOptions& options, const BaseWeights& base, const std::vector<LoraExpert>& experts,
                                        const Dataset& data);

}  // namespace switchyard::trainer
