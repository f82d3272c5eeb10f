#include "engine/experts/row_groups.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace switchyard {

namespace {

constexpr float kSumsToOne = 1e-6f;

const ExpertLayer* Active(const ExpertBank& bank, int32_t layer, int16_t expert, float weight) {
  if (expert == LayerRoutes::kUnused || weight == 0 || bank[expert]->is_zero) return nullptr;
  const ExpertLayer& found = bank[expert]->layers[layer];
  return found.empty() ? nullptr : &found;
}

}  // namespace

RowGroups::RowGroups(const ExpertBank& bank, int32_t layer, const LayerRoutes& routes, Order order) : base_share_(routes.rows, 1.0f) {
  std::vector<Assignment> assignments;
  for (int64_t row = 0; row < routes.rows; ++row) {
    const size_t before = assignments.size();
    for (int32_t slot = 0; slot < routes.k; ++slot) {
      const int16_t expert = routes.experts[row * routes.k + slot];
      const float weight = routes.weights[row * routes.k + slot];
      const ExpertLayer* active = Active(bank, layer, expert, weight);
      if (active == nullptr) continue;
      // By slot, then expert, then how the rows lie.
      assignments.push_back({active, (slot * static_cast<int64_t>(bank.size()) + expert) * 3, row, slot, weight, false, false});
      base_share_[row] -= weight;
    }
    if (std::fabs(base_share_[row]) < kSumsToOne) base_share_[row] = 0;
    if (order == Order::kAsGiven || assignments.size() == before) continue;
    Assignment& last = assignments.back();
    last.last = true;
    last.alone = assignments.size() == before + 1 && last.weight == 1;
    last.key += last.alone ? 2 : 1;
  }
  if (assignments.empty()) return;
  std::vector<int64_t> by_key(assignments.size());
  std::iota(by_key.begin(), by_key.end(), 0);
  std::stable_sort(by_key.begin(), by_key.end(), [&](int64_t a, int64_t b) { return assignments[a].key < assignments[b].key; });
  if (order == Order::kSorted && routes.rows > 1) {
    std::vector<Assignment> sorted;
    sorted.reserve(assignments.size());
    for (const int64_t i : by_key) sorted.push_back(assignments[i]);
    SortRows(sorted);
    std::vector<int64_t> place(order_.size());
    for (size_t i = 0; i < order_.size(); ++i) place[order_[i]] = static_cast<int64_t>(i);
    for (Assignment& assignment : assignments) assignment.row = place[assignment.row];
  }
  Group(assignments, by_key);
}

// Places: rows in the order of their last assignment, then those without any. `assignments` by key.
void RowGroups::SortRows(const std::vector<Assignment>& assignments) {
  std::vector<float> shares;
  shares.reserve(base_share_.size());
  std::vector<bool> placed(base_share_.size());
  const auto put = [&](int64_t row) {
    order_.push_back(row);
    shares.push_back(base_share_[row]);
    placed[row] = true;
  };
  for (const Assignment& assignment : assignments) {
    if (assignment.last) put(assignment.row);
  }
  for (size_t row = 0; row < placed.size(); ++row) {
    if (!placed[row]) put(static_cast<int64_t>(row));
  }
  base_share_ = std::move(shares);
}

void RowGroups::Group(const std::vector<Assignment>& assignments, const std::vector<int64_t>& by_key) {
  rows_.reserve(by_key.size());  // spans into both: they must not move
  weights_.reserve(by_key.size());
  const auto nth = [&](int64_t i) -> const Assignment& { return assignments[by_key[i]]; };
  const auto count = static_cast<int64_t>(by_key.size());
  for (int64_t begin = 0, end = 0; begin < count; begin = end) {
    for (; end < count && nth(end).key == nth(begin).key; ++end) {
      rows_.push_back(nth(end).row);
      weights_.push_back(nth(end).weight);
    }
    groups_.push_back({nth(begin).expert,
                       nth(begin).slot,
                       nth(begin).last,
                       nth(begin).alone,
                       begin,
                       {rows_.data() + begin, static_cast<size_t>(end - begin)},
                       {weights_.data() + begin, static_cast<size_t>(end - begin)}});
  }
}

}  // namespace switchyard
