// LayerTrace: what one layer's router chose for T tokens. A view; the figures of this room are computed from it, one layer at a time.
//
// All functions of this room are pure and thread-safe. A figure that is undefined for its input is absent (std::nullopt), never 0.
#pragma once

#include <cstdint>
#include <span>

namespace switchyard {

struct LayerTrace {
  static constexpr int16_t kUnused = -1;  // an empty slot
  int32_t num_experts = 0;                // n, the routable ones
  int32_t k = 0;                          // slots a token, best first
  std::span<const int16_t> experts;       // [T, k], no expert twice in a token
  std::span<const float> weights;         // [T, k]
  std::span<const int32_t> tokens;        // [T] token ids; needed by figures over the vocabulary
  std::span<const int32_t> sequences;  // [T] which sequence a token belongs to; empty: all are one. Neighbours in it are consecutive rows

  int64_t rows() const { return k == 0 ? 0 : static_cast<int64_t>(experts.size()) / k; }
  std::span<const int16_t> chosen(int64_t row) const { return experts.subspan(row * k, k); }
  bool SameSequence(int64_t row, int64_t other) const { return sequences.empty() || sequences[row] == sequences[other]; }
};

}  // namespace switchyard
