// PHATGOOSE's training: for one expert alone a gate vector a layer, everything else frozen.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "engine/base/status.h"
#include "trainer/nn/model.h"
#include "trainer/run/training_run.h"

namespace switchyard::trainer {

// [L] of [H] f32: trained by the loss of `data`'s answers with expert `expert` of `experts` answering at strength sigmoid(<v, x>). `model`
// was made from `experts`, which must be frozen. No checkpoints: a run is a hundred steps. CANCELLED when options.stop was set.
StatusOr<std::vector<at::Tensor>> TrainGate(TrainableModel& model, std::vector<LoraExpert>& experts, int32_t expert,
                                            const ModelConfig& base, const Dataset& data, const RunOptions& options, Communicator& world);

}  // namespace switchyard::trainer
