// One expert's part of a mixture, a few rows at a time: the hidden units of a tile are built, used and forgotten in the second-level cache,
// so that no [rows, M] matrix of any expert is written. For experts that do not train themselves and see no dropout.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

#include "trainer/nn/lora.h"
#include "trainer/nn/packed_linear.h"

namespace switchyard::trainer {

// What the tiles of one expert read. Borrowed; used on the training thread, which owns the pool's work.
struct ExpertTiles {
  const TrainCompute& compute;
  const LoraBlock& lora;
  const PackedRows& x;            // [n]: the block's inputs of `rows`
  std::span<const int64_t> rows;  // [n] distinct rows of the batch
  const float *gate, *up;         // [T, M]: G and U
  int64_t hidden, width;          // H, M

  // h [T, M] += weights[i] h_e for the expert's rows. Returns scale * weight * Ad h_e as packed rows of rank, for AddDownTiles; without
  // a matrix on the down projection, of no width.
  PackedRows Forward(std::span<const float> weights, float* h) const;

  struct Back {
    const PackedRows& dy;  // [n]: the block's output gradients of `rows`
    const float* d;        // [T, M]: D = Wdᵀ dy
    float* dots;           // [n] <h_e, D + s Adᵀ Bdᵀ dy>, or null
    // [n], or empty: dots alone. Rows of weight 0 have dots alone, too.
    std::span<const float> weights;
    float *dgate, *dup;  // [T, M]: += the gradients of the expert's gate and up
    float* dx;           // [T, H]: += what comes back through A
  };
  void Backward(const Back& back) const;
};

// y [T, H], row rows[i] += Bd z[i], of what Forward returned.
void AddDownTiles(kernels::ThreadPool& pool, const LoraMatrix& down, const PackedRows& z, std::span<const int64_t> rows, float* y);

}  // namespace switchyard::trainer
