// The way back through an expert's hidden units, for training: what ExpertHidden computes is built again in registers, used and forgotten.
#pragma once

#include <cstdint>

#include "engine/kernels/kernels.h"

namespace switchyard::kernels {

// With   g = gate + Bg zg,   u = up + Bu zu,   d = back + Aᵀ zd   of row rows[i] and   v = silu(g) * u:
//   dots[i]     = <v, d>
//   dgate, dup  (+)= weights[i] * d * the derivatives of v by g and by u; written where first[i], added elsewhere
//   own_*       = the same gradients by themselves, as packed rows
// Row i's results depend on that row alone, bit for bit. All columns in one call, on the calling thread.
struct ExpertBackwardArgs {
  WeightType type = WeightType::kF32;  // of all the packed things below
  const void* gate = nullptr;          // [., columns] of the base in `type`, these five rows `stride` elements apart
  const void* up = nullptr;
  const float* back = nullptr;  // the gradient that arrives at the hidden units through the base's down projection
  int64_t stride = 0;
  int64_t count = 0;
  const int64_t* rows = nullptr;
  const PackedMatrix* gate_b = nullptr;  // [columns, rank], or null: the base's as it is
  const void* gate_z = nullptr;          // packed rows of rank, z_bytes apart, as the other two
  const PackedMatrix* up_b = nullptr;
  const void* up_z = nullptr;
  const PackedMatrix* down_a = nullptr;  // [columns, rank]: A of the down projection, transposed
  const void* down_z = nullptr;
  int64_t z_bytes = 0;
  float* dots = nullptr;           // [count], or null
  const float* weights = nullptr;  // [count], or null: dots alone, and nothing below is used
  const uint8_t* first = nullptr;  // [count]
  float* dgate = nullptr;
  float* dup = nullptr;
  void* own_dgate = nullptr;  // [count] packed rows of `columns`, or null
  void* own_dup = nullptr;
};
void ExpertBackward(const ExpertBackwardArgs& args, int64_t columns);

}  // namespace switchyard::kernels
