#include "trainer/nn/dispatch.h"

#include <cmath>
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

}  // namespace

Status CheckDispatch(const DispatchOptions& options) {
  if (options.rule != "top-k" && options.rule != "capacity" && options.rule != "max-score")
    return InvalidArgument("--dispatch: expected top-k, capacity or max-score, found %s", options.rule);
  if (!(options.capacity_factor > 0 && options.capacity_factor <= 1e6))
    return InvalidArgument("--capacity-factor: expected a value above 0, found %g", options.capacity_factor);
  return OkStatus();
}

void Dispatch(const DispatchOptions& options, std::span<const float> p, int32_t experts, LayerRoutes* routes) {
  if (options.rule == "capacity") DropBeyondCapacity(options.capacity_factor, experts, routes);
  if (options.rule == "max-score") AssignMaxScore(p, experts, routes);
}

}  // namespace switchyard::trainer
