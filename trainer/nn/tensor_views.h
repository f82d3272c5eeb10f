// Our tensors as the artifact room's borrowed views, for writing.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "engine/artifact/tensor_view.h"

namespace switchyard::trainer {

// Contiguous f32, bf16, i32 or i64; the view keeps the tensor's memory alive.
TensorView ViewOf(const std::string& name, const at::Tensor& tensor);

}  // namespace switchyard::trainer
