// The LoRA experts of one base, resident: per layer, in router order, the zero expert as an empty entry.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/artifact/peft_adapter.h"
#include "engine/base/status.h"
#include "engine/kernels/kernels.h"
#include "engine/tensor/compute.h"

namespace switchyard {

// delta = scale * B A. On the reference backend two f32 tensors; on the fast one two packed matrices in the base's dtype: with a bf16
// base the products round x, A, z = A x and B to bf16 and sum in fp32, as the base's own products do, for half the bytes read at every
// token.
class ExpertLora {
 public:
  // a [rank, in], b [out, rank], any floating dtype.
  ExpertLora(const at::Tensor& a, const at::Tensor& b, float scale, const Compute& compute);

  int64_t rank() const { return rank_; }
  int64_t in_features() const { return in_; }
  int64_t out_features() const { return out_; }
  float scale() const { return scale_; }
  int64_t bytes() const;

  // Reference only: scale * (x Aᵀ) Bᵀ in f32.
  at::Tensor Delta(const at::Tensor& x) const;
  // Fast only. z [rows, rank] = A x; then y [rows, out] += B z, or y = B z. The caller puts the scale into z. Row by row the same bits
  // whatever `rows` and the pool. x, y: row strides in elements.
  void Shrink(kernels::ThreadPool& pool, const float* x, int64_t rows, int64_t x_stride, float* z) const;
  void Expand(kernels::ThreadPool& pool, const float* z, int64_t rows, float* y, int64_t y_stride, bool accumulate) const;
  // A [rank, in] and B [out, rank] f32 as they compute: rounded where packing rounded them. On the fast backend each is a product with the
  // identity: for loading, not for steps.
  at::Tensor A(kernels::ThreadPool* pool) const;
  at::Tensor B(kernels::ThreadPool* pool) const;
  // Fast only: the packed matrices [rank, in] and [out, rank], for products of parts of them.
  const kernels::PackedMatrix& a() const { return *packed_a_; }
  const kernels::PackedMatrix& b() const { return *packed_b_; }

 private:
  int64_t rank_, in_, out_;
  float scale_;
  at::Tensor a_, b_;                                                  // reference
  std::shared_ptr<const kernels::PackedMatrix> packed_a_, packed_b_;  // fast
};

struct ExpertLayer {
  std::optional<ExpertLora> gate, up, down;
  bool empty() const { return !gate && !up && !down; }
};

// Immutable, so that snapshots may share it; each gives it a name of its own.
struct Expert {
  std::string generation;  // "zero" for the zero expert
  bool is_zero = false;
  int32_t max_rank = 0;
  int64_t bytes = 0;
  std::vector<ExpertLayer> layers;  // [L]; all empty for the zero expert
};

std::shared_ptr<const Expert> ZeroExpert(int32_t num_layers);
// DATA_LOSS names directory and tensor when a value is NaN or infinite; INVALID_ARGUMENT when A and B do not fit together.
StatusOr<std::shared_ptr<const Expert>> LoadExpert(const PeftAdapter& adapter, const Compute& compute);

using ExpertBank = std::vector<std::shared_ptr<const Expert>>;  // by ExpertIndex

}  // namespace switchyard
