// Numeric kernels for the CPU path, torch-free: plain pointers, strides in elements, an explicit pool. The instruction set is chosen at run
// time (AVX512-BF16, AVX-512, AVX2, scalar); SetIsa forces one for tests.
//
// Batch invariance: a row's result depends on that row alone, bit for bit: never on how many rows the call has or on the number of threads.
// Every dot product is accumulated in fp32 in one fixed order. That is what makes routes independent of batch neighbours, prefix hits equal
// to recomputation, and a packed Score equal to separate ones.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/kernels/thread_pool.h"

namespace switchyard::kernels {

using bf16 = uint16_t;  // the upper half of an IEEE float

enum class Isa { kScalar, kAvx2, kAvx512, kAvx512Bf16 };
Isa BestIsa();         // what this CPU has
Isa CurrentIsa();      // in use; at first the fastest, which need not be the best (see isa.cc)
void SetIsa(Isa isa);  // at most BestIsa(); before packing anything. Not thread-safe
const char* IsaName(Isa isa);

enum class WeightType { kF32, kBF16 };

// A [N, K] row-major weight repacked once for the current ISA; y = x Wᵀ. Immutable after Pack. Owns its copy.
class PackedMatrix {
 public:
  static std::unique_ptr<PackedMatrix> PackBF16(const bf16* w, int64_t n, int64_t k, int64_t row_stride);
  static std::unique_ptr<PackedMatrix> PackF32(const float* w, int64_t n, int64_t k, int64_t row_stride);
  ~PackedMatrix();
  int64_t n() const;
  int64_t k() const;
  WeightType type() const;
  int64_t bytes() const;
  struct Impl;
  const Impl& impl() const { return *impl_; }

 private:
  PackedMatrix();
  std::unique_ptr<Impl> impl_;
};

// y[m, n] = x[m, k] Wᵀ (+ bias[n]) (+ y when accumulate). x and bias are f32; y is f32.
// With bf16 weights each x is rounded to bf16 (nearest even) first, so that every ISA computes the same product terms; sums are fp32.
// With f32 weights all is fp32.
void Gemm(ThreadPool& pool, const float* x, int64_t m, int64_t x_stride, const PackedMatrix& w, const float* bias, float* y,
          int64_t y_stride, bool accumulate);

// Rows of x in the form that products with weights of one type read: rounded to bf16 and laid out for the instruction set, or the floats
// themselves. Several products of the same rows then share the rounding. Rows lie PackedRowBytes apart; the memory is on a cache line.
int64_t PackedRowBytes(WeightType type, int64_t k);
void PackRows(ThreadPool& pool, const float* x, int64_t rows, int64_t k, int64_t x_stride, WeightType type, void* packed);
// Gemm of such rows, bit for bit.
void GemmPacked(ThreadPool& pool, const void* x, int64_t m, const PackedMatrix& w, const float* bias, float* y, int64_t y_stride,
                bool accumulate);
// A part of a product, on the calling thread: columns [column_begin, column_end) of the sum over [k_begin, k_end). column_begin is a
// multiple of kColumnUnit; k_begin is even, k_end even or the end. x holds the range's part of each row only, packed; y points at column 0.
// Row i goes to row y_rows[i] of y, or to row i when y_rows is null.
inline constexpr int64_t kColumnUnit = 16;
struct GemmPart {
  int64_t column_begin, column_end, k_begin, k_end;
};
void GemmOfPart(const void* x, int64_t m, const PackedMatrix& w, const GemmPart& part, float* y, int64_t y_stride, bool accumulate,
                const int64_t* y_rows);
// The plain loop with the same contract as Gemm but for the order of the sum: the reference of the tests.
void GemmReference(const float* x, int64_t m, int64_t x_stride, const float* w, int64_t n, int64_t k, const float* bias, float* y,
                   int64_t y_stride, bool accumulate, WeightType type);

// y = x / sqrt(mean(x^2) + eps) * weight, per row of `width`. In place allowed.
void RmsNorm(ThreadPool& pool, const float* x, int64_t rows, int64_t x_stride, const float* weight, int64_t width, float eps, float* y,
             int64_t y_stride);
// residual += delta, then y = RmsNorm(residual): one pass.
void AddRmsNorm(ThreadPool& pool, float* residual, const float* delta, int64_t rows, const float* weight, int64_t width, float eps,
                float* y);
// y = silu(gate) * up; n elements.
void SiluMul(ThreadPool& pool, const float* gate, const float* up, int64_t n, float* y);
// Rotates the two halves of each head in place (Hugging Face's layout): x[row][head][dim], position per row, cos/sin tables
// [positions][dim/2].
void Rope(ThreadPool& pool, float* x, int64_t rows, int64_t row_stride, int64_t heads, int64_t dim, const int32_t* positions,
          const float* cos, const float* sin);

// Paged attention with grouped heads, softmax in fp32. One task a (segment, head group); online over the slots.
struct AttentionSegment {
  int64_t row_begin = 0, row_end = 0;  // rows of q and out
  const int32_t* slots = nullptr;      // [length]; row r sees slots[0 .. length - (row_end - r)] inclusive of its own
  int64_t length = 0;
};
// K and V pools: [slots][kv_heads][dim] in bf16 or f32 (`kv_type`). q, out: [rows][heads][dim] f32 with row strides. scale multiplies q·k.
// A row's result is bit-identical whatever its neighbours and however the prompt was cut into chunks.
void PagedAttention(ThreadPool& pool, const float* q, int64_t q_row_stride, const void* k_pool, const void* v_pool, WeightType kv_type,
                    int64_t heads, int64_t kv_heads, int64_t dim, float scale, const std::vector<AttentionSegment>& segments, float* out,
                    int64_t out_row_stride);
// Writes rows of k or v, [rows][kv_heads * dim] f32, into their slots of a pool.
void StoreKv(ThreadPool& pool, const float* x, int64_t rows, int64_t row_stride, int64_t width, const int32_t* slots, void* kv_pool,
             WeightType kv_type);

// log-sum-exp, argmax (lowest index on ties) of a row of n logits.
struct LogSoftmaxStats {
  float log_sum_exp = 0;
  float max = 0;
  int32_t argmax = 0;
  bool finite = true;
};
LogSoftmaxStats RowStats(const float* logits, int64_t n);

// Low-rank products of one row in fp32:
// y[n] += scale * sum_r b[n, r] z[r];  z[r] = sum_k a[r, k] x[k]. a [rank, k] bf16/f32 rows; b is kept transposed [rank, n].
void LoraShrink(const float* x, int64_t k, const float* a, int64_t rank, float* z);
void LoraExpandAdd(const float* z, int64_t rank, const float* b_t, int64_t n, float scale, float* y);

// An expert's hidden units for some rows, columns [column_begin, column_end), on the calling thread. For each i, with r = rows[i]:
//   v = silu(gate[r] + gate_b gate_z[i]) * (up[r] + up_b up_z[i]);  h[r] = weights[i] * v, or h[r] += weights[i] * v unless first[i]
// The sums start from gate[r] and up[r]. column_begin is a multiple of kColumnUnit, rows are distinct.
struct ExpertHiddenArgs {
  WeightType type = WeightType::kF32;  // of all the packed things below
  const float* gate = nullptr;
  const float* up = nullptr;
  float* h = nullptr;
  int64_t stride = 0;  // of these three, in elements
  int64_t count = 0;
  const int64_t* rows = nullptr;
  const float* weights = nullptr;
  const uint8_t* first = nullptr;
  const PackedMatrix* gate_b = nullptr;  // [n, rank], or null: the base's gate as it is
  const void* gate_z = nullptr;          // packed rows of rank, z_bytes apart
  const PackedMatrix* up_b = nullptr;
  const void* up_z = nullptr;
  int64_t z_bytes = 0;
  void* hidden = nullptr;  // unless null: v as packed rows of column_end - column_begin
};
void ExpertHidden(const ExpertHiddenArgs& args, int64_t column_begin, int64_t column_end);

void F32ToBf16(const float* x, int64_t n, bf16* y);  // round to nearest even
void Bf16ToF32(const bf16* x, int64_t n, float* y);

}  // namespace switchyard::kernels
