// The routes of one layer turned around: for each expert and slot the rows that chose it. Private to this room.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/experts/expert_bank.h"
#include "engine/routing/layer_routes.h"

namespace switchyard {

// Rows that chose one expert in one slot; none occurs twice.
struct RowGroup {
  const ExpertLayer* expert = nullptr;  // never empty
  int32_t slot = 0;
  int64_t first = 0;  // place of its assignments among all
  std::span<const int64_t> rows;
  std::span<const float> weights;
  std::span<const uint8_t> starts;  // 1: the row has no base share, and this is the first slot that adds to it
};

// Zero experts, experts without an adapter in this layer, unused slots and weights of 0 are left out: they are the base.
class RowGroups {
 public:
  // Experts of `routes` must be indices of `bank`. Borrows from bank.
  RowGroups(const ExpertBank& bank, int32_t layer, const LayerRoutes& routes);
  RowGroups(const RowGroups&) = delete;
  RowGroups& operator=(const RowGroups&) = delete;

  const std::vector<RowGroup>& all() const { return groups_; }      // by expert, then slot: an expert's assignments lie together
  const std::vector<int32_t>& by_slot() const { return by_slot_; }  // indices of all(), in the order a row's sum runs
  const std::vector<int64_t>& rows() const { return rows_; }        // of all assignments
  int64_t assignments() const { return static_cast<int64_t>(rows_.size()); }
  // 1 - sum of the row's weights, what stays with the base: exactly 1 for a row in no group, exactly 0 when the weights sum to 1 within
  // rounding.
  float base_share(int64_t row) const { return base_share_[static_cast<size_t>(row)]; }

 private:
  struct Assignment {
    const ExpertLayer* expert;
    int64_t key, row;
    int32_t slot;
    float weight;
    bool starts;
  };
  void Group(std::vector<Assignment>& assignments);

  std::vector<RowGroup> groups_;
  std::vector<int32_t> by_slot_;
  std::vector<int64_t> rows_;
  std::vector<float> weights_, base_share_;
  std::vector<uint8_t> starts_;
};

}  // namespace switchyard
