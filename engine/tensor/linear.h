// y = x Wᵀ (+ b), by the backend of its Compute. Immutable; owned by the layer that uses it.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>

#include "engine/base/status.h"
#include "engine/kernels/kernels.h"
#include "engine/tensor/compute.h"

namespace switchyard {

class Linear {
 public:
  // weight [out, in], bias [out] or absent. `dtype` of the stored weight: base matrices pass compute.weight_dtype, LoRA and routers kFloat.
  // kFast packs the weight and drops the original.
  Linear(const Compute& compute, const at::Tensor& weight, const std::optional<at::Tensor>& bias, at::ScalarType dtype);

  // x [T, in] in activation_dtype -> [T, out] in activation_dtype.
  at::Tensor Forward(const at::Tensor& x) const;
  // kFast only, without allocation: y [T, out] f32 with row stride y_stride elements; adds to y when accumulate.
  void ForwardInto(const float* x, int64_t rows, int64_t x_stride, float* y, int64_t y_stride, bool accumulate) const;

  // Reference only: [out, in], and [out] or undefined.
  const at::Tensor& weight() const { return weight_; }
  const at::Tensor& bias() const { return bias_; }
  // The same with x as kernels::PackRows lays it out for weight_type().
  void ForwardPacked(const void* x, int64_t rows, float* y, int64_t y_stride) const;
  kernels::WeightType weight_type() const { return packed_->type(); }  // kFast only

  int64_t in_features() const { return in_; }
  int64_t out_features() const { return out_; }
  int64_t bytes() const;

 private:
  const Compute* compute_;  // must outlive
  int64_t in_, out_;
  at::Tensor weight_, bias_;                             // reference
  std::shared_ptr<const kernels::PackedMatrix> packed_;  // fast
};

}  // namespace switchyard
