#include "trainer/nn/packed_linear.h"

#include <ATen/ATen.h>

#include <cstring>

namespace switchyard::trainer {

namespace {

std::unique_ptr<kernels::PackedMatrix> Pack(const at::Tensor& weight, at::ScalarType dtype) {
  const at::Tensor w = weight.detach().to(dtype).contiguous();
  if (dtype == at::kBFloat16) {
    return kernels::PackedMatrix::PackBF16(static_cast<const kernels::bf16*>(w.const_data_ptr()), w.size(0), w.size(1), w.size(1));
  }
  return kernels::PackedMatrix::PackF32(w.const_data_ptr<float>(), w.size(0), w.size(1), w.size(1));
}

}  // namespace

PackedRows::PackedRows(int64_t rows, int64_t row_bytes)
    : rows_(rows), row_bytes_(row_bytes), bytes_(at::empty({rows * row_bytes}, at::kByte)) {}

PackedRows::PackedRows(const TrainCompute& compute, const float* x, int64_t rows, int64_t width, int64_t row_bytes)
    : PackedRows(rows, row_bytes > 0 ? row_bytes : kernels::PackedRowBytes(compute.type(), width)) {
  char* to = static_cast<char*>(bytes_.mutable_data_ptr());
  if (row_bytes_ == kernels::PackedRowBytes(compute.type(), width)) {
    kernels::PackRows(*compute.pool, x, rows, width, width, compute.type(), to);
    return;
  }
  for (int64_t row = 0; row < rows; ++row) {
    kernels::PackRows(*compute.pool, x + row * width, 1, width, width, compute.type(), to + row * row_bytes_);
  }
}

PackedRows PackedRows::Gather(std::span<const int64_t> rows) const {
  PackedRows some(static_cast<int64_t>(rows.size()), row_bytes_);
  char* to = static_cast<char*>(some.bytes_.mutable_data_ptr());
  for (const int64_t row : rows) {
    std::memcpy(to, at(row), static_cast<size_t>(row_bytes_));
    to += row_bytes_;
  }
  return some;
}

PackedLinear::PackedLinear(const TrainCompute& compute, const at::Tensor& weight, const at::Tensor& bias)
    : compute_(&compute), forward_(Pack(weight, compute.dtype)), backward_(Pack(weight.detach().t(), compute.dtype)) {
  if (bias.defined()) bias_ = bias.detach().to(at::kFloat).contiguous();
}

void PackedLinear::Forward(const float* x, int64_t rows, float* y, bool accumulate) const {
  const float* bias = bias_.defined() ? bias_.const_data_ptr<float>() : nullptr;
  kernels::Gemm(*compute_->pool, x, rows, in_features(), *forward_, bias, y, out_features(), accumulate);
}

void PackedLinear::Forward(const PackedRows& x, float* y, bool accumulate) const {
  const float* bias = bias_.defined() ? bias_.const_data_ptr<float>() : nullptr;
  kernels::GemmPacked(*compute_->pool, x.at(0), x.rows(), *forward_, bias, y, out_features(), accumulate);
}

void PackedLinear::Backward(const float* dy, int64_t rows, float* dx, bool accumulate) const {
  kernels::Gemm(*compute_->pool, dy, rows, out_features(), *backward_, nullptr, dx, in_features(), accumulate);
}

void PackedLinear::Backward(const PackedRows& dy, float* dx, bool accumulate) const {
  kernels::GemmPacked(*compute_->pool, dy.at(0), dy.rows(), *backward_, nullptr, dx, in_features(), accumulate);
}

}  // namespace switchyard::trainer
