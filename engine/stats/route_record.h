// The routes of T tokens through all layers of one model, owned: what a whole report is made of.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/stats/layer_trace.h"

namespace switchyard {

struct LayerRecord {
  std::vector<int16_t> experts;      // [T, k], LayerTrace::kUnused for an empty slot
  std::vector<float> weights;        // [T, k]
  std::vector<float> entropy;        // [T] nats over all experts, NaN where there was no distribution; or empty
  std::vector<float> probabilities;  // [P, E] of the first P <= T tokens; or empty
};

struct RouteRecord {
  int32_t num_experts = 0;          // E
  int32_t k = 0;                    // slots a token
  int16_t zero_expert = -1;         // its index, -1: there is none
  int32_t num_tasks = 0;            // Q; 0: no tasks
  std::vector<int32_t> tokens;      // [T] token ids
  std::vector<int32_t> sequences;   // [T] which sequence a token belongs to
  std::vector<int32_t> tasks;       // [T] 0 .. Q - 1; or empty
  std::vector<LayerRecord> layers;  // [L]

  int64_t rows() const { return static_cast<int64_t>(tokens.size()); }
  LayerTrace TraceOf(size_t layer) const {
    return {.num_experts = num_experts,
            .k = k,
            .experts = layers[layer].experts,
            .weights = layers[layer].weights,
            .tokens = tokens,
            .sequences = sequences};
  }
};

// The same without the zero expert: its slots are empty, the experts behind it move up, weights and probabilities of the others are divided
// by their sum (a row in which they sum to 0 keeps zeros). Entropies are those of these probabilities where there are any, else gone. The
// record itself when it has no zero expert.
RouteRecord WithoutZero(const RouteRecord& record);

}  // namespace switchyard
