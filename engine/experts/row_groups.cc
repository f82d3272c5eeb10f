#include "engine/experts/row_groups.h"

#include <cmath>

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
  // A counting sort by (slot, expert).
  const size_t experts = bank.size();
  std::vector<int64_t> ends(static_cast<size_t>(routes.k) * experts + 1, 0);
  for (int64_t at = 0; at < routes.rows * routes.k; ++at) {
    if (Active(bank, layer, routes.experts[at], routes.weights[at]) == nullptr) continue;
    ++ends[static_cast<size_t>(at % routes.k) * experts + routes.experts[at] + 1];
    base_share_[at / routes.k] -= routes.weights[at];
  }
  for (float& share : base_share_) share = std::fabs(share) < kSumsToOne ? 0.0f : share;
  for (size_t key = 1; key < ends.size(); ++key) ends[key] += ends[key - 1];
  rows_.resize(ends.back());
  weights_.resize(ends.back());
  if (rows_.empty()) return;
  std::vector<int64_t> next(ends.begin(), ends.end() - 1);
  for (int64_t at = 0; at < routes.rows * routes.k; ++at) {
    if (Active(bank, layer, routes.experts[at], routes.weights[at]) == nullptr) continue;
    const int64_t to = next[static_cast<size_t>(at % routes.k) * experts + routes.experts[at]]++;
    rows_[to] = at / routes.k;
    weights_[to] = routes.weights[at];
  }
  for (size_t key = 0; key + 1 < ends.size(); ++key) {
    const size_t size = static_cast<size_t>(ends[key + 1] - ends[key]);
    if (size == 0) continue;
    groups_.push_back({&bank[key % experts]->layers[layer], static_cast<int32_t>(key / experts), ends[key], {rows_.data() + ends[key], size},
                       {weights_.data() + ends[key], size}});
  }
}

}  // namespace switchyard
