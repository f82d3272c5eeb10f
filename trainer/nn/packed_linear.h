// y = x Wᵀ + b on the serving kernels, with the product its backward pass needs beside it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "engine/kernels/kernels.h"

namespace switchyard::trainer {

// How a training run computes: kBFloat16 rounds weights and the inputs of products to bf16 and sums in f32, kFloat is f32 throughout.
// Activations are f32 either way. One a run; outlives everything built with it.
struct TrainCompute {
  at::ScalarType dtype = at::kBFloat16;
  kernels::ThreadPool* pool = nullptr;
};

// Immutable: packed in both directions when built, so twice the weight's bytes. Used by one thread at a time (it owns the pool's work).
class PackedLinear {
 public:
  // weight [out, in], bias [out] or undefined; any floating dtype.
  PackedLinear(const TrainCompute& compute, const at::Tensor& weight, const at::Tensor& bias = {});

  int64_t in_features() const { return forward_->k(); }
  int64_t out_features() const { return forward_->n(); }
  // x [rows, in] -> y [rows, out]
  void Forward(const float* x, int64_t rows, float* y, bool accumulate = false) const;
  // dy [rows, out] -> dx [rows, in] = dy W
  void Backward(const float* dy, int64_t rows, float* dx, bool accumulate = false) const;

 private:
  const TrainCompute* compute_;
  std::unique_ptr<kernels::PackedMatrix> forward_, backward_;
  at::Tensor bias_;  // f32 or undefined
};

}  // namespace switchyard::trainer
