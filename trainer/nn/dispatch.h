// Which rows of a training batch get which expert, when that is not each row's own top-k. A row's experts then depend on the other rows,
// later ones included: evaluation and serving choose row by row. (Expert Choice is analysed with experts choosing, too.)
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "engine/base/status.h"
#include "engine/routing/layer_routes.h"

namespace switchyard::trainer {

struct DispatchOptions {
  // "top-k": row by row. "capacity": no expert takes more than ceil(factor k T / E) rows (Switch Transformers, 2101.03961); first choices
  // go before second ones, earlier rows before later ones, and what does not fit is dropped. "max-score" and "max-score-iterative" (2508.12801): see max_score.h.
  // "expert-choice" (2202.09368): each expert but `never` takes the ceil(factor T / experts) rows it scores highest; a row may get any
  // number.
  std::string rule = "top-k";
  double capacity_factor = 1.25;
  int32_t never = -1;  // the expert that expert-choice leaves out: zero, which any row may fall to
};

// Either way of MaxScore.
bool IsMaxScore(const DispatchOptions& options);
// INVALID_ARGUMENT for an unknown rule or a factor that is not above 0.
Status CheckDispatch(const DispatchOptions& options);

// How many rows an expert takes by expert-choice: 1 to `rows`.
int64_t RowsAnExpertTakes(const DispatchOptions& options, int64_t rows, int32_t experts);
// The slots a row needs in `routes`: k, or as many as there are experts.
int32_t SlotsOf(const DispatchOptions& options, int32_t k, int32_t experts);

// p: [T, E] row by row, each row a probability. Rewrites the experts in `routes`, which come with the T rows' own top-k; free slots are
// kUnused. Weights, margins and entropies stay. REQUIRES: options that CheckDispatch takes, p.size() == routes->rows * experts.
void Dispatch(const DispatchOptions& options, std::span<const float> p, int32_t experts, LayerRoutes* routes);

}  // namespace switchyard::trainer
