// A base model with LoRA on attention added into its weights: a base of its own.
#pragma once

#include <string>

#include "engine/artifact/mixlora_weights.h"
#include "engine/base/status.h"

namespace switchyard {

// Writes `directory` (must not exist) as a copy of `base_directory` in which W becomes W + scale B A, summed in f32 and rounded to W's
// dtype, for every projection of `lora`. Takes the memory of the changed tensors; the others are copied out of their mapping, into one
// file. Costs 2 r operations a weight. DATA_LOSS or NOT_FOUND where the base lacks a tensor, UNIMPLEMENTED for weights that are not F32 or
// BF16.
Status WriteMergedBase(const std::string& base_directory, const std::map<std::pair<int32_t, AttentionProjection>, ScaledLora>& lora,
                       const std::string& directory);

}  // namespace switchyard
