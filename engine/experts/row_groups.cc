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

RowGroups::RowGroups(const ExpertBank& bank, int32_t layer, const LayerRoutes& routes) : base_share_(routes.rows, 1.0f) {
  std::vector<Assignment> assignments;
  assignments.reserve(static_cast<size_t>(routes.rows * routes.k));
  for (int64_t row = 0; row < routes.rows; ++row) {
    const size_t before = assignments.size();
    for (int32_t slot = 0; slot < routes.k; ++slot) {
      const int16_t expert = routes.experts[row * routes.k + slot];
      const float weight = routes.weights[row * routes.k + slot];
      const ExpertLayer* active = Active(bank, layer, expert, weight);
      if (active == nullptr) continue;
      assignments.push_back({active, static_cast<int64_t>(expert) * routes.k + slot, row, slot, weight, false});
      base_share_[row] -= weight;
    }
    if (std::fabs(base_share_[row]) < kSumsToOne) base_share_[row] = 0;
    if (assignments.size() > before) assignments[before].starts = base_share_[row] == 0;
  }
  Group(assignments);
  by_slot_.resize(groups_.size());
  std::iota(by_slot_.begin(), by_slot_.end(), 0);
  std::stable_sort(by_slot_.begin(), by_slot_.end(), [&](int32_t a, int32_t b) { return groups_[a].slot < groups_[b].slot; });
}

void RowGroups::Group(std::vector<Assignment>& assignments) {
  std::stable_sort(assignments.begin(), assignments.end(), [](const Assignment& a, const Assignment& b) { return a.key < b.key; });
  const size_t count = assignments.size();
  rows_.reserve(count);  // spans into the three: they must not move
  weights_.reserve(count);
  starts_.reserve(count);
  for (size_t begin = 0, end = 0; begin < count; begin = end) {
    for (; end < count && assignments[end].key == assignments[begin].key; ++end) {
      rows_.push_back(assignments[end].row);
      weights_.push_back(assignments[end].weight);
      starts_.push_back(assignments[end].starts ? 1 : 0);
    }
    const size_t size = end - begin;
    groups_.push_back({assignments[begin].expert,
                       assignments[begin].slot,
                       static_cast<int64_t>(begin),
                       {rows_.data() + begin, size},
                       {weights_.data() + begin, size},
                       {starts_.data() + begin, size}});
  }
}

}  // namespace switchyard
