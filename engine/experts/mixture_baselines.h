// The two ways of others that the benchmarks compare with. Same result as the single-down algorithm up to rounding. Private to this room.
#pragma once

#include "engine/experts/mixture.h"
#include "engine/experts/row_groups.h"

namespace switchyard {

// kMixLora or kNaive.
at::Tensor MixtureBaseline(const Compute& compute, const at::Tensor& x, const FeedForward& ffn, const RowGroups& groups,
                           MixtureAlgorithm algorithm);

}  // namespace switchyard
