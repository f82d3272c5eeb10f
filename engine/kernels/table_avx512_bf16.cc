// AVX-512 with dot products of bf16 pairs: the AVX-512 table with its own bf16 matrix kernel.
#include "engine/kernels/gemm_impl.h"
#include "engine/kernels/hidden_back_impl.h"
#include "engine/kernels/hidden_impl.h"
#include "engine/kernels/kernel_table.h"
#include "engine/kernels/simd_avx512.h"

namespace switchyard::kernels {

namespace {

// A type of its own, so that nothing compiled here shares a name with what other files instantiate.
struct SimdDot : SimdAvx512 {};

struct StepDot {
  using Simd = SimdDot;
  using F = Simd::F;
  using X = uint32_t;  // a pair of bf16
  using W = uint16_t;
  static constexpr int kXPerStep = 1;
  static constexpr int kWPerStep = 2 * Simd::kLanes;
  static constexpr bool kPairs = true;

  static SWITCHYARD_INLINE void StoreX(char* row, int64_t column, F v, int64_t lanes) {
    uint16_t* to = reinterpret_cast<uint16_t*>(row) + column;
    if (lanes == Simd::kLanes) {
      Simd::StoreBf16(to, v);
    } else {
      Simd::StoreBf16N(to, v, lanes);
    }
  }

  template <int R, int C>
  static SWITCHYARD_INLINE void Run(F (&acc)[R][C], const X* x, int64_t x_stride, const W* w, int64_t panel_stride) {
    __m512i b[C];
#pragma GCC unroll 16
    for (int c = 0; c < C; ++c) b[c] = _mm512_loadu_si512(w + c * panel_stride);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const __m512i a = _mm512_set1_epi32(static_cast<int>(x[r * x_stride]));
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c) acc[r][c] = _mm512_dpbf16_ps(acc[r][c], (__m512bh)a, (__m512bh)b[c]);
    }
  }
};

void RoundXToPairs(const float* x, int64_t m, int64_t k, int64_t x_stride, void* packed, int64_t packed_stride) {
  constexpr int L = SimdDot::kLanes;
  for (int64_t row = 0; row < m; ++row) {
    const float* from = x + row * x_stride;
    uint16_t* to = reinterpret_cast<uint16_t*>(static_cast<uint32_t*>(packed) + row * packed_stride);
    int64_t i = 0;
    for (; i + L <= k; i += L) SimdDot::StoreBf16(to + i, SimdDot::Load(from + i));
    if (i < k) SimdDot::StoreBf16N(to + i, SimdDot::LoadN(from + i, k - i), k - i);
    if (k % 2 != 0) to[k] = 0;
  }
}

KernelTable Make() {
  KernelTable table = Avx512Table();
  table.round_x = RoundXToPairs;
  table.x_bytes = sizeof(uint16_t);
  table.gemm_bf16 = GemmKernel<StepDot>::Run;
  table.hidden_bf16 = HiddenKernel<StepDot>::Run;
  table.hidden_back_bf16 = HiddenBackKernel<StepDot>::Run;
  return table;
}

}  // namespace

const KernelTable& Avx512Bf16Table() {
  static const KernelTable table = Make();
  return table;
}

}  // namespace switchyard::kernels
