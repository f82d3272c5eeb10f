#include "engine/experts/expert_bank.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace switchyard {

namespace {

std::shared_ptr<const kernels::PackedMatrix> Pack(const at::Tensor& weight, at::ScalarType dtype) {
  const at::Tensor w = weight.to(dtype).contiguous();
  if (dtype == at::kBFloat16) {
    return kernels::PackedMatrix::PackBF16(static_cast<const kernels::bf16*>(w.const_data_ptr()), w.size(0), w.size(1), w.size(1));
  }
  return kernels::PackedMatrix::PackF32(w.const_data_ptr<float>(), w.size(0), w.size(1), w.size(1));
}

Status LoadPair(const std::optional<LoraPair>& pair, const Compute& compute, std::optional<ExpertLora>* lora) {
  if (!pair) return OkStatus();
  ASSIGN_OR_RETURN(const at::Tensor a, TensorFromView(pair->a, at::kFloat));
  ASSIGN_OR_RETURN(const at::Tensor b, TensorFromView(pair->b, at::kFloat));
  if (a.dim() != 2 || b.dim() != 2 || a.size(0) != b.size(1) || a.size(0) < 1) {
    return InvalidArgument("tensors %s %s and %s %s: expected [rank, in] and [out, rank]", pair->a.name, ShapeString(pair->a.shape),
                           pair->b.name, ShapeString(pair->b.shape));
  }
  if (!std::isfinite(pair->scale)) return InvalidArgument("tensor %s: scale %f is not finite", pair->a.name, pair->scale);
  lora->emplace(a, b, static_cast<float>(pair->scale), compute);
  return OkStatus();
}

// [n, k] f32 of a packed matrix, some columns at a time.
at::Tensor Unpacked(kernels::ThreadPool& pool, const kernels::PackedMatrix& matrix) {
  constexpr int64_t kColumns = 256;
  std::vector<at::Tensor> parts;
  for (int64_t begin = 0; begin < matrix.k(); begin += kColumns) {
    const int64_t count = std::min(kColumns, matrix.k() - begin);
    at::Tensor units = at::zeros({count, matrix.k()}, at::kFloat), part = at::empty({count, matrix.n()}, at::kFloat);
    for (int64_t i = 0; i < count; ++i) units.mutable_data_ptr<float>()[i * matrix.k() + begin + i] = 1.0f;
    kernels::Gemm(pool, units.const_data_ptr<float>(), count, matrix.k(), matrix, nullptr, part.mutable_data_ptr<float>(), matrix.n(),
                  /*accumulate=*/false);
    parts.push_back(std::move(part));
  }
  return at::cat(parts).t().contiguous();
}

}  // namespace

ExpertLora::ExpertLora(const at::Tensor& a, const at::Tensor& b, float scale, const Compute& compute)
    : rank_(a.size(0)), in_(a.size(1)), out_(b.size(0)), scale_(scale) {
  if (compute.backend == Backend::kFast) {
    packed_a_ = Pack(a, compute.weight_dtype);
    packed_b_ = Pack(b, compute.weight_dtype);
  } else {
    a_ = a.to(at::kFloat).contiguous();
    b_ = b.to(at::kFloat).contiguous();
  }
}

int64_t ExpertLora::bytes() const {
  if (packed_a_ != nullptr) return packed_a_->bytes() + packed_b_->bytes();
  return static_cast<int64_t>(a_.nbytes() + b_.nbytes());
}

at::Tensor ExpertLora::A(kernels::ThreadPool* pool) const { return packed_a_ == nullptr ? a_ : Unpacked(*pool, *packed_a_); }

at::Tensor ExpertLora::B(kernels::ThreadPool* pool) const { return packed_b_ == nullptr ? b_ : Unpacked(*pool, *packed_b_); }

at::Tensor ExpertLora::Delta(const at::Tensor& x) const { return at::matmul(at::matmul(x.to(at::kFloat), a_.t()), b_.t()) * scale_; }

void ExpertLora::Shrink(kernels::ThreadPool& pool, const float* x, int64_t rows, int64_t x_stride, float* z) const {
  kernels::Gemm(pool, x, rows, x_stride, *packed_a_, nullptr, z, rank_, /*accumulate=*/false);
}

void ExpertLora::Expand(kernels::ThreadPool& pool, const float* z, int64_t rows, float* y, int64_t y_stride, bool accumulate) const {
  kernels::Gemm(pool, z, rows, rank_, *packed_b_, nullptr, y, y_stride, accumulate);
}

std::shared_ptr<const Expert> ZeroExpert(int32_t num_layers) {
  auto expert = std::make_shared<Expert>();
  expert->generation = "zero";
  expert->is_zero = true;
  expert->layers.resize(static_cast<size_t>(num_layers));
  return expert;
}

StatusOr<std::shared_ptr<const Expert>> LoadExpert(const PeftAdapter& adapter, const Compute& compute) {
  auto expert = std::make_shared<Expert>();
  expert->generation = adapter.generation;
  expert->layers.resize(adapter.layers.size());
  for (size_t l = 0; l < adapter.layers.size(); ++l) {
    const LoraLayer& from = adapter.layers[l];
    ExpertLayer& to = expert->layers[l];
    for (const auto& [pair, lora] : {std::pair{&from.gate, &to.gate}, std::pair{&from.up, &to.up}, std::pair{&from.down, &to.down}}) {
      RETURN_IF_ERROR(Annotate(LoadPair(*pair, compute, lora), adapter.directory));
      if (!lora->has_value()) continue;
      expert->bytes += (*lora)->bytes();
      expert->max_rank = std::max(expert->max_rank, static_cast<int32_t>((*lora)->rank()));
    }
  }
  return expert;
}

}  // namespace switchyard
