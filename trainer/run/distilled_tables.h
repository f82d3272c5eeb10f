// What a router does with each token id, as a table: StableMoE's distillation (Dai et al., 2204.08396).
#pragma once

#include <cstdint>
#include <vector>

#include "engine/base/status.h"
#include "trainer/data/example.h"
#include "trainer/nn/model.h"

namespace switchyard::trainer {

struct DistilledTables {
  std::vector<std::vector<int32_t>> tables;  // [L] of [vocabulary]
  double agreement = 0;                      // part of the data's routes that the tables repeat, mean over layers
  int64_t seen = 0;                          // ids that occur in the data
};

// One pass over `data`. An id goes to the expert that most of its tokens chose first in that layer, which is where a classifier of ids
// alone that is trained to repeat the router by cross entropy ends (the paper descends to it through small embeddings); ties go to the
// lowest index. An id the data does not have goes to `unseen`, or, below 0, to the layer's most frequent choice. OUT_OF_RANGE when an id is
// outside the vocabulary.
StatusOr<DistilledTables> DistilTables(TrainableModel& model, const RouterModule& router, const Dataset& data, int32_t vocabulary,
                                       int32_t unseen, int64_t tokens_per_pass);

}  // namespace switchyard::trainer
