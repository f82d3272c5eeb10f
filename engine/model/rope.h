// Rotary position tables, equal to transformers' for rope types default, linear and llama3 (attention factor 1).
#pragma once

#include <ATen/core/Tensor.h>

#include "engine/artifact/model_config.h"

namespace switchyard {

// cos and sin of position p and frequency i at [p, i]; [positions, head_dim / 2] f32, contiguous.
struct RopeTable {
  at::Tensor cos, sin;
};

// Rounds where transformers rounds (frequencies and angles in f32): at position 8,000 an angle in f64 would differ by 1e-4.
RopeTable MakeRopeTable(const RopeConfig& config, int64_t head_dim, int64_t positions);

}  // namespace switchyard
