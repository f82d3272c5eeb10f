// The routes of one layer turned around: for each (slot, expert) the rows that chose it. Private to this room.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/experts/expert_bank.h"
#include "engine/routing/layer_routes.h"

namespace switchyard {

// Within one slot every row occurs at most once, so the groups of a slot may be worked on at the same time.
struct RowGroup {
  const ExpertLayer* expert = nullptr;  // never empty
  int32_t slot = 0;
  // Sorted only: the rows lie next to each other and have no later slot.
  bool last = false;
  // Sorted only, implies last: nothing but this expert, with weight 1, in any of the rows.
  bool alone = false;
  int64_t first = 0;              // of its assignments among all
  std::span<const int64_t> rows;  // places when sorted
  std::span<const float> weights;
};

// Zero experts, experts without an adapter in this layer, unused slots and weights of 0 are left out: they are the base.
class RowGroups {
 public:
  // kAsGiven: rows are those of `routes`. kSorted: rows are places in an order that puts rows next to each other that end with the same
  // expert.
  enum class Order { kAsGiven, kSorted };

  // Experts of `routes` must be indices of `bank`. Borrows from bank.
  RowGroups(const ExpertBank& bank, int32_t layer, const LayerRoutes& routes, Order order);
  RowGroups(const RowGroups&) = delete;
  RowGroups& operator=(const RowGroups&) = delete;

  const std::vector<RowGroup>& all() const { return groups_; }  // by slot
  int64_t assignments() const { return static_cast<int64_t>(rows_.size()); }
  // 1 - sum of the row's weights, what stays with the base: exactly 1 for a row in no group, exactly 0 when the weights sum to 1 within
  // rounding.
  float base_share(int64_t row) const { return base_share_[static_cast<size_t>(row)]; }
  // [place] -> row of `routes`; empty when places are rows.
  const std::vector<int64_t>& order() const { return order_; }

 private:
  struct Assignment {
    const ExpertLayer* expert;
    int64_t key, row;
    int32_t slot;
    float weight;
    bool last, alone;
  };
  void SortRows(const std::vector<Assignment>& assignments);
  void Group(const std::vector<Assignment>& assignments, const std::vector<int64_t>& by_key);

  std::vector<RowGroup> groups_;
  std::vector<int64_t> rows_, order_;
  std::vector<float> weights_, base_share_;
};

}  // namespace switchyard
