#include "trainer/nn/dispatch.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "trainer/nn/max_score.h"

namespace switchyard::trainer {

namespace {

void DropBeyondCapacity(double factor, int32_t experts, LayerRoutes* routes) {
  const auto capacity = static_cast<int64_t>(std::ceil(factor * static_cast<double>(routes->rows * routes->k) / experts));
  std::vector<int64_t> taken(static_cast<size_t>(experts));
  for (int32_t slot = 0; slot < routes->k; ++slot) {
    for (int64_t row = 0; row < routes->rows; ++row) {
      int16_t& expert = routes->experts[row * routes->k + slot];
      if (expert == LayerRoutes::kUnused) continue;
      if (taken[expert] == capacity) {
        expert = LayerRoutes::kUnused;
      } else {
        ++taken[expert];
      }
    }
  }
}

void LetExpertsChoose(const DispatchOptions& options, std::span<const float> p, int32_t experts, LayerRoutes* routes) {
  const int64_t rows = routes->rows, each = RowsAnExpertTakes(options, rows, experts);
  std::fill(routes->experts.begin(), routes->experts.end(), LayerRoutes::kUnused);
  std::vector<int32_t> used(static_cast<size_t>(rows));
  std::vector<int64_t> order(static_cast<size_t>(rows));
  for (int32_t e = 0; e < experts; ++e) {
    if (e == options.never) continue;
    std::iota(order.begin(), order.end(), 0);
    // Equal scores: the earlier row.
    std::partial_sort(order.begin(), order.begin() + each, order.end(), [&](int64_t a, int64_t b) {
      const float left = p[a * experts + e], right = p[b * experts + e];
      return left > right || (left == right && a < b);
    });
    for (int64_t i = 0; i < each; ++i) routes->experts[order[i] * routes->k + used[order[i]]++] = static_cast<int16_t>(e);
  }
}

}  // namespace

int64_t RowsAnExpertTakes(const DispatchOptions& options, int64_t rows, int32_t experts) {
  const int32_t choosing = std::max(1, experts - (options.never >= 0 ? 1 : 0));
  const auto each = static_cast<int64_t>(std::ceil(options.capacity_factor * static_cast<double>(rows) / choosing));
  return std::clamp<int64_t>(each, 1, rows);
}

int32_t SlotsOf(const DispatchOptions& options, int32_t k, int32_t experts) { return options.rule == "expert-choice" ? experts : k; }

bool IsMaxScore(const DispatchOptions& options) { return options.rule == "max-score" || options.rule == "max-score-iterative"; }

Status CheckDispatch(const DispatchOptions& options) {
  if (options.rule != "top-k" && options.rule != "capacity" && !IsMaxScore(options) && options.rule != "expert-choice")
    return InvalidArgument("--dispatch: expected top-k, capacity, max-score or max-score-iterative, found %s", options.rule);
  if (!(options.capacity_factor > 0 && options.capacity_factor <= 1e6))
    return InvalidArgument("--capacity-factor: expected a value above 0, found %g", options.capacity_factor);
  return OkStatus();
}

void Dispatch(const DispatchOptions& options, std::span<const float> p, int32_t experts, LayerRoutes* routes) {
  if (options.rule == "capacity") DropBeyondCapacity(options.capacity_factor, experts, routes);
  if (options.rule == "max-score") AssignMaxScore(p, experts, routes);
  if (options.rule == "max-score-iterative") AssignMaxScoreIteratively(p, experts, routes);
  if (options.rule == "expert-choice") LetExpertsChoose(options, p, experts, routes);
}

}  // namespace switchyard::trainer
