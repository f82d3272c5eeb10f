// Which rows of a training batch get which expert, when that is not each row's own top-k. A row's experts then depend on the other rows, later
// ones included: evaluation and serving always choose row by row.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "engine/base/status.h"
#include "engine/routing/layer_routes.h"

namespace switchyard::trainer {

struct DispatchOptions {
  // "top-k": row by row. "capacity": no expert takes more than ceil(factor k T / E) rows (Switch Transformers, 2101.03961); first choices go
  // before second ones, earlier rows before later ones, and what does not fit is dropped. "max-score" (2508.12801): see max_score.h.
  std::string rule = "top-k";
  double capacity_factor = 1.25;
};

// INVALID_ARGUMENT for an unknown rule or a factor that is not above 0.
Status CheckDispatch(const DispatchOptions& options);

// p: [T, E] row by row, each row a probability. Rewrites the experts in `routes`, which come with the T rows' own top-k; dropped slots are
// kUnused. Weights, margins and entropies stay. REQUIRES: options that CheckDispatch takes, p.size() == routes->rows * experts.
void Dispatch(const DispatchOptions& options, std::span<const float> p, int32_t experts, LayerRoutes* routes);

}  // namespace switchyard::trainer
