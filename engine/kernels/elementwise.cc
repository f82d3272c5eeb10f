#include <algorithm>
#include <cstring>

#include "engine/kernels/kernel_table.h"
#include "engine/kernels/kernels.h"

namespace switchyard::kernels {

namespace {

// Elements below which a second thread costs more than it brings.
constexpr int64_t kGrainElements = 8192;

int64_t RowGrain(int64_t width) { return std::max<int64_t>(1, kGrainElements / std::max<int64_t>(width, 1)); }

}  // namespace

void RmsNorm(ThreadPool& pool, const float* x, int64_t rows, int64_t x_stride, const float* weight, int64_t width, float eps, float* y,
             int64_t y_stride) {
  const KernelTable& table = CurrentTable();
  pool.ParallelFor(rows, RowGrain(width), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) table.rms_norm(nullptr, nullptr, x + r * x_stride, weight, width, eps, y + r * y_stride);
  });
}

void AddRmsNorm(ThreadPool& pool, float* residual, const float* delta, int64_t rows, const float* weight, int64_t width, float eps,
                float* y) {
  const KernelTable& table = CurrentTable();
  pool.ParallelFor(rows, RowGrain(width), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      table.rms_norm(residual + r * width, delta + r * width, nullptr, weight, width, eps, y + r * width);
  });
}

void SiluMul(ThreadPool& pool, const float* gate, const float* up, int64_t n, float* y) {
  const KernelTable& table = CurrentTable();
  pool.ParallelFor(n, kGrainElements,
                   [&](int64_t begin, int64_t end) { table.silu_mul(gate + begin, up + begin, end - begin, y + begin); });
}

void Rope(ThreadPool& pool, float* x, int64_t rows, int64_t row_stride, int64_t heads, int64_t dim, const int32_t* positions,
          const float* cos, const float* sin) {
  const KernelTable& table = CurrentTable();
  const int64_t half = dim / 2;
  pool.ParallelFor(rows, RowGrain(heads * dim), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t row = positions[r] * half;
      for (int64_t head = 0; head < heads; ++head) table.rope(x + r * row_stride + head * dim, dim, cos + row, sin + row);
    }
  });
}

void StoreKv(ThreadPool& pool, const float* x, int64_t rows, int64_t row_stride, int64_t width, const int32_t* slots, void* kv_pool,
             WeightType kv_type) {
  const KernelTable& table = CurrentTable();
  pool.ParallelFor(rows, RowGrain(width), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* from = x + r * row_stride;
      const int64_t offset = slots[r] * width;
      if (kv_type == WeightType::kBF16) {
        table.f32_to_bf16(from, width, static_cast<bf16*>(kv_pool) + offset);
      } else {
        std::memcpy(static_cast<float*>(kv_pool) + offset, from, static_cast<size_t>(width) * sizeof(float));
      }
    }
  });
}

LogSoftmaxStats RowStats(const float* logits, int64_t n) { return CurrentTable().row_stats(logits, n); }

void LoraShrink(const float* x, int64_t k, const float* a, int64_t rank, float* z) { CurrentTable().lora_shrink(x, k, a, rank, z); }

void LoraExpandAdd(const float* z, int64_t rank, const float* b_t, int64_t n, float scale, float* y) {
  CurrentTable().lora_expand_add(z, rank, b_t, n, scale, y);
}

void F32ToBf16(const float* x, int64_t n, bf16* y) { CurrentTable().f32_to_bf16(x, n, y); }

void Bf16ToF32(const bf16* x, int64_t n, float* y) { CurrentTable().bf16_to_f32(x, n, y); }

}  // namespace switchyard::kernels
