// The best expert of every token in the KV pool, so that a row can be compared with the token before it in its sequence, whatever step,
// task or branch computed that one.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace switchyard {

// Two bytes a layer and slot. A slot's entry belongs to the token whose keys and values are in the slot, and lives as long: what a sequence
// may take from the prefix tree was computed under the same snapshot and policy, so expert indices of neighbours mean the same.
// Used only on the engine thread.
class BestExperts {
 public:
  BestExperts(int32_t layers, int64_t slots) : slots_(slots), best_(static_cast<size_t>(layers * slots), kNone) {}
  // [slots] of one layer; kNone where the token's row went to no expert.
  std::span<int16_t> layer(int32_t layer) { return {best_.data() + layer * slots_, static_cast<size_t>(slots_)}; }

  static constexpr int16_t kNone = -1;

 private:
  const int64_t slots_;
  std::vector<int16_t> best_;  // [layers, slots]
};

}  // namespace switchyard
