// One expert's part of a mixture, a few rows at a time: its hidden units are built in registers, used and forgotten, so that no [rows, M]
// matrix of any expert is written. For experts that do not train themselves and see no dropout; the base is one without adapters.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>

#include "trainer/nn/lora.h"
#include "trainer/nn/packed_linear.h"

namespace switchyard::trainer {

// What an expert's products with B, and with Aᵀ on the way back, start from, for n rows: scale A x of gate and up, scale Bᵀ dy of down; packed, rows equally far
// apart, absent where there is no matrix.
struct LowRank {
  LowRank() = default;
  // x [n, H], dy [n, H] or null.
  LowRank(const TrainCompute& compute, const LoraBlock& lora, const PackedRows& x, const PackedRows* dy);
  LowRank Gather(std::span<const int64_t> rows) const;

  std::optional<PackedRows> gate, up, down;
};

// Borrowed; used on the training thread, which owns the pool's work.
struct ExpertTiles {
  const TrainCompute& compute;
  const LoraBlock& lora;
  int64_t width;  // M

  struct Front {
    const float *gate, *up;          // [T, M]: G and U
    std::span<const float> weights;  // [n]
    uint8_t* first;                  // [T]: which rows of h are written; others are added to. Those written are cleared
    float* h;                        // [T, M], row rows[i] (+)= weights[i] h_e
  };
  // Of n distinct rows. Returns scale * weight * Ad h_e as packed rows of rank, for AddDownTiles; without a matrix on the down projection,
  // of no width.
  PackedRows Forward(const LowRank& z, std::span<const int64_t> rows, const Front& front) const;

  struct Back {
    const void *gate, *up;           // [T, M]: G and U in compute's type
    const float* d;                  // [T, M]: D = Wdᵀ dy
    float* dots;                     // [n] <h_e, D + s Adᵀ Bdᵀ dy>, or null
    std::span<const float> weights;  // [n], or empty: dots alone
    uint8_t* first;                  // [T], of dgate and dup, as above
    float *dgate, *dup;              // [T, M]: (+)= the gradients of the expert's gate and up
    float* dx;                       // [T, H]: += what comes back through A
  };
  void Backward(const LowRank& z, std::span<const int64_t> rows, const Back& back) const;
};

// y [T, H], row rows[i] += Bd z[i], of what Forward returned.
void AddDownTiles(kernels::ThreadPool& pool, const LoraMatrix& down, const PackedRows& z, std::span<const int64_t> rows, float* y);

}  // namespace switchyard::trainer
