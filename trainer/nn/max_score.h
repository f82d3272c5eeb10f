// MaxScore (2508.12801): every expert takes at most ceil(k T / E) of a batch's T rows and, as far as that allows, every row gets k experts, so
// that nothing is dropped and experts that are rarely the best still learn.
#pragma once

#include <cstdint>
#include <span>

#include "engine/routing/layer_routes.h"

namespace switchyard::trainer {

// p: [T, E] row by row. Rewrites the experts of `routes` (T rows, k slots), in blocks of 512 rows. First slots go row by row to the best
// expert that has room; each further slot is the assignment of largest total probability among the experts that have room, none twice in a
// row. A slot for which there is none is kUnused. O(rows E (k rows / E + E^2)) a block.
void AssignMaxScore(std::span<const float> p, int32_t experts, LayerRoutes* routes);

// The paper's faster variant, over the whole batch: first slots as above. For each further slot every row asks its best expert that has room
// and that it does not have; an expert takes those it scores highest, the earlier row where scores are equal, and who is refused asks on.
// Rows that are refused have nobody to turn to but experts with room, so it ends after at most E rounds a slot. O(k rows (E + ln rows)) where
// few are refused.
void AssignMaxScoreIteratively(std::span<const float> p, int32_t experts, LayerRoutes* routes);

}  // namespace switchyard::trainer
