// Single values of floating-point tensors on disk.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/artifact/tensor_view.h"

namespace switchyard {

bool IsFloat(DType dtype);  // F16, BF16, F32 or F64

// REQUIRES: IsFloat(tensor.dtype) and 0 <= index < elements().
double ElementAt(const TensorView& tensor, int64_t index);

// The first element in which two floating-point tensors of one shape differ by more than the rounding of the coarser dtype; of one dtype,
// at all.
std::optional<int64_t> FirstDifference(const TensorView& a, const TensorView& b);

}  // namespace switchyard
