// What routers see: rows of the feed-forward blocks' inputs, drawn from data.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "engine/base/status.h"
#include "trainer/data/example.h"
#include "trainer/nn/model.h"

namespace switchyard::trainer {

struct HiddenStates {
  std::vector<at::Tensor> layers;  // [L] of [N, H] f32: the same N rows in each
  std::vector<int32_t> domains;    // [N] of the data set; domains take turns, so that the first rows are a mixture of all
};

struct HiddenStateOptions {
  int64_t rows = 1024;           // at most; shared equally among the domains
  int64_t rows_per_example = 8;  // neighbours say much the same
  int64_t tokens_per_pass = 2048;
  uint64_t seed = 1;
};

// Each row of a domain is answered by expert `expert_of_domain[domain]` in every layer, or by the base (-1): the states a router sees when
// it chooses so. `experts`: how many `model` has. Deterministic by seed. INVALID_ARGUMENT when the data holds no example.
StatusOr<HiddenStates> CollectHiddenStates(TrainableModel& model, int32_t experts, const Dataset& data,
                                           const std::vector<int32_t>& expert_of_domain, const HiddenStateOptions& options);

}  // namespace switchyard::trainer
