// Some rows of a matrix, copied on the calling thread: ATen's index_select and cat wake OpenMP's threads beside the kernels' own pool.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace switchyard {

// x [T, W] contiguous; every row of `rows` in [0, T). Returns [rows, W] in the dtype of x.
at::Tensor GatherRows(const at::Tensor& x, std::span<const int32_t> rows);

}  // namespace switchyard
