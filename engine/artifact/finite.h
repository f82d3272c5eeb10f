// The first NaN or infinite value of a floating-point tensor.
#pragma once

#include <optional>

#include "engine/artifact/tensor_view.h"

namespace switchyard {

// Index of the first non-finite element, or nothing. Integer tensors are always finite.
std::optional<int64_t> FirstNonFinite(const TensorView& tensor);
// Whether every element is zero (of either sign).
bool AllZero(const TensorView& tensor);

}  // namespace switchyard
