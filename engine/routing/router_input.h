// What a router looks at in one layer of one step.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace switchyard {

// Valid during the call it is given to.
struct RouterInput {
  RouterInput(const at::Tensor& rows) : x(rows) {}  // NOLINT(google-explicit-constructor): most methods look at nothing else
  RouterInput(const at::Tensor& rows, std::span<const int32_t> ids) : x(rows), tokens(ids) {}

  const at::Tensor x;                     // [T, hidden] in activation_dtype: the normalised input of the feed-forward block
  const std::span<const int32_t> tokens;  // [T] the id of the token each row stands for; empty where nobody knows them
};

}  // namespace switchyard
