// y = x Wᵀ + b on the serving kernels, with the product its backward pass needs beside it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>

#include "engine/kernels/kernels.h"

namespace switchyard::trainer {

// How a training run computes: kBFloat16 rounds weights and the inputs of products to bf16 and sums in f32, kFloat is f32 throughout.
// Activations are f32 either way. One a run; outlives everything built with it.
struct TrainCompute {
  at::ScalarType dtype = at::kBFloat16;
  kernels::ThreadPool* pool = nullptr;

  kernels::WeightType type() const { return dtype == at::kBFloat16 ? kernels::WeightType::kBF16 : kernels::WeightType::kF32; }
};

// Rows as products read them: rounded once for all products they go into. Immutable.
class PackedRows {
 public:
  // x [rows, width]. Rows lie row_bytes apart, or next to each other when that is 0.
  PackedRows(const TrainCompute& compute, const float* x, int64_t rows, int64_t width, int64_t row_bytes = 0);

  int64_t rows() const { return rows_; }
  int64_t row_bytes() const { return row_bytes_; }
  // From row `row` on.
  const void* at(int64_t row) const { return static_cast<const char*>(bytes_.const_data_ptr()) + row * row_bytes_; }
  // A copy of some rows, in the order given.
  PackedRows Gather(std::span<const int64_t> rows) const;

 private:
  PackedRows(int64_t rows, int64_t row_bytes);

  int64_t rows_, row_bytes_;
  at::Tensor bytes_;
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
  void Forward(const PackedRows& x, float* y, bool accumulate = false) const;
  // dy [rows, out] -> dx [rows, in] = dy W
  void Backward(const float* dy, int64_t rows, float* dx, bool accumulate = false) const;
  void Backward(const PackedRows& dy, float* dx, bool accumulate = false) const;

  const kernels::PackedMatrix& forward() const { return *forward_; }
  const kernels::PackedMatrix& backward() const { return *backward_; }

 private:
  const TrainCompute* compute_;
  std::unique_ptr<kernels::PackedMatrix> forward_, backward_;
  at::Tensor bias_;  // f32 or undefined
};

}  // namespace switchyard::trainer
