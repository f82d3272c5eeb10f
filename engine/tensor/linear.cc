#include "engine/tensor/linear.h"

#include <ATen/ATen.h>

#include <utility>

namespace switchyard {

namespace {

std::shared_ptr<const kernels::PackedMatrix> Pack(const at::Tensor& weight, at::ScalarType dtype) {
  const at::Tensor w = weight.to(dtype).contiguous();
  if (dtype == at::kBFloat16) {
    return kernels::PackedMatrix::PackBF16(reinterpret_cast<const kernels::bf16*>(w.const_data_ptr()), w.size(0), w.size(1), w.size(1));
  }
  return kernels::PackedMatrix::PackF32(w.const_data_ptr<float>(), w.size(0), w.size(1), w.size(1));
}

}  // namespace

Linear::Linear(const Compute& compute, const at::Tensor& weight, const std::optional<at::Tensor>& bias, at::ScalarType dtype)
    : compute_(&compute), in_(weight.size(1)), out_(weight.size(0)) {
  if (compute.backend == Backend::kFast) {
    packed_ = Pack(weight, dtype);
    if (bias) bias_ = bias->to(at::kFloat).contiguous();
    return;
  }
  weight_ = weight.to(dtype).contiguous();
  if (bias) bias_ = bias->to(dtype).contiguous();
}

at::Tensor Linear::Forward(const at::Tensor& x) const {
  if (packed_ == nullptr) {
    const auto bias = bias_.defined() ? std::optional<at::Tensor>(bias_) : std::nullopt;
    return at::linear(x.to(weight_.scalar_type()), weight_, bias).to(x.scalar_type());
  }
  const at::Tensor rows = x.contiguous();
  at::Tensor y = at::empty({rows.size(0), out_}, at::kFloat);
  ForwardInto(rows.const_data_ptr<float>(), rows.size(0), in_, y.mutable_data_ptr<float>(), out_, /*accumulate=*/false);
  return y;
}

void Linear::ForwardInto(const float* x, int64_t rows, int64_t x_stride, float* y, int64_t y_stride, bool accumulate) const {
  const float* bias = bias_.defined() ? bias_.const_data_ptr<float>() : nullptr;
  kernels::Gemm(*compute_->pool, x, rows, x_stride, *packed_, bias, y, y_stride, accumulate);
}

void Linear::ForwardPacked(const void* x, int64_t rows, float* y, int64_t y_stride) const {
  const float* bias = bias_.defined() ? bias_.const_data_ptr<float>() : nullptr;
  kernels::GemmPacked(*compute_->pool, x, rows, *packed_, bias, y, y_stride, /*accumulate=*/false);
}

int64_t Linear::bytes() const {
  const int64_t weights = packed_ ? packed_->bytes() : static_cast<int64_t>(weight_.nbytes());
  return weights + (bias_.defined() ? static_cast<int64_t>(bias_.nbytes()) : 0);
}

}  // namespace switchyard
