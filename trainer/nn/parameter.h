// What an optimiser moves.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace switchyard::trainer {

// value and grad are f32, contiguous, of the same shape; grad is zeroed by the loop and added to by backward passes. Tensors are shared:
// copies of a Parameter are the same parameter.
struct Parameter {
  std::string name;
  at::Tensor value;
  at::Tensor grad;
  bool decay = true;  // weight decay applies: matrices, not biases
};

Parameter MakeParameter(const std::string& name, const at::Tensor& value, bool decay);

}  // namespace switchyard::trainer
