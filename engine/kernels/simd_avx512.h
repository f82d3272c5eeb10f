// Sixteen lanes of float, and what every SIMD type of this room offers. Included only by files compiled with the AVX-512 flags.
//
// The kernels are templates over such a type; each instruction set instantiates them in a file of its own (table_*.cc). Everything here is
// forced inline: a function emitted out of line could be chosen by the linker for a file that runs on a lesser CPU.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "engine/kernels/inline.h"

namespace switchyard::kernels {

struct SimdAvx512 {
  using F = __m512;
  static constexpr int kLanes = 16;
  static constexpr int kRows = 6;       // row block of the matrix kernels: kRows * kPanels accumulators, kPanels weights, one broadcast
  static constexpr int kPanels = 4;     // column panels beside each other
  static constexpr int kTallRows = 12;  // another shape with as many accumulators
  static constexpr int kTallPanels = 2;

  static SWITCHYARD_INLINE F Zero() { return _mm512_setzero_ps(); }
  static SWITCHYARD_INLINE F Set1(float v) { return _mm512_set1_ps(v); }
  static SWITCHYARD_INLINE F Load(const float* p) { return _mm512_loadu_ps(p); }
  // The first n lanes (0 <= n <= kLanes), zero in the others; memory past them is not touched.
  static SWITCHYARD_INLINE F LoadN(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(Mask(n), p); }
  static SWITCHYARD_INLINE void Store(float* p, F v) { _mm512_storeu_ps(p, v); }
  static SWITCHYARD_INLINE void StoreN(float* p, F v, int64_t n) { _mm512_mask_storeu_ps(p, Mask(n), v); }
  static SWITCHYARD_INLINE F Add(F a, F b) { return _mm512_add_ps(a, b); }
  static SWITCHYARD_INLINE F Sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static SWITCHYARD_INLINE F Mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static SWITCHYARD_INLINE F Div(F a, F b) { return _mm512_div_ps(a, b); }
  static SWITCHYARD_INLINE F Fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static SWITCHYARD_INLINE F Max(F a, F b) { return _mm512_max_ps(a, b); }  // b when either is NaN
  static SWITCHYARD_INLINE F Min(F a, F b) { return _mm512_min_ps(a, b); }  // b when either is NaN
  static SWITCHYARD_INLINE F Round(F a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  // a * 2^n for a whole n within [-200, 200].
  static SWITCHYARD_INLINE F ScalePow2(F a, F n) { return _mm512_scalef_ps(a, n); }
  // Over the lanes, in one fixed tree.
  static SWITCHYARD_INLINE float ReduceAdd(F a) {
    const __m256 s = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 t = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    t = _mm_add_ps(t, _mm_movehl_ps(t, t));
    return _mm_cvtss_f32(_mm_add_ss(t, _mm_movehdup_ps(t)));
  }
  static SWITCHYARD_INLINE float ReduceMax(F a) {
    const __m256 s = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 t = _mm_max_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    t = _mm_max_ps(t, _mm_movehl_ps(t, t));
    return _mm_cvtss_f32(_mm_max_ss(t, _mm_movehdup_ps(t)));
  }

  static SWITCHYARD_INLINE F LoadBf16(const uint16_t* p) { return Widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
  static SWITCHYARD_INLINE F LoadBf16N(const uint16_t* p, int64_t n) { return Widen(_mm256_maskz_loadu_epi16(Mask(n), p)); }
  static SWITCHYARD_INLINE void StoreBf16(uint16_t* p, F v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), Narrow(v)); }
  static SWITCHYARD_INLINE void StoreBf16N(uint16_t* p, F v, int64_t n) { _mm256_mask_storeu_epi16(p, Mask(n), Narrow(v)); }
  // To the nearest bf16, ties to even, as a float. NaN stays NaN.
  static SWITCHYARD_INLINE F RoundBf16(F v) {
    const __m512i u = _mm512_castps_si512(v), upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __mmask16 is_nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    const __m512i chosen = _mm512_mask_or_epi32(rounded, is_nan, u, _mm512_set1_epi32(0x00400000));
    return _mm512_castsi512_ps(_mm512_and_si512(chosen, upper));
  }
  // kLanes interleaved pairs of bf16: the first, the second of each.
  static SWITCHYARD_INLINE F PairLow(const uint16_t* p) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16)); }
  static SWITCHYARD_INLINE F PairHigh(const uint16_t* p) {
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
  }
  // to[i * stride .. + kLanes) = element i of each row.
  static SWITCHYARD_INLINE void StoreTransposed(const F (&row)[16], float* to, int64_t stride) {
    F pairs[16], quads[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i += 2) {
      pairs[i] = _mm512_unpacklo_ps(row[i], row[i + 1]);
      pairs[i + 1] = _mm512_unpackhi_ps(row[i], row[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {  // quads[i + e]: element e of each 128-bit lane, of rows i .. i + 3
      quads[i] = Halves<false>(pairs[i], pairs[i + 2]);
      quads[i + 1] = Halves<true>(pairs[i], pairs[i + 2]);
      quads[i + 2] = Halves<false>(pairs[i + 1], pairs[i + 3]);
      quads[i + 3] = Halves<true>(pairs[i + 1], pairs[i + 3]);
    }
#pragma GCC unroll 4
    for (int e = 0; e < 4; ++e) {
      const F even_low = _mm512_shuffle_f32x4(quads[e], quads[e + 4], 0x88), odd_low = _mm512_shuffle_f32x4(quads[e], quads[e + 4], 0xdd);
      const F even_high = _mm512_shuffle_f32x4(quads[e + 8], quads[e + 12], 0x88),
              odd_high = _mm512_shuffle_f32x4(quads[e + 8], quads[e + 12], 0xdd);
      Store(to + e * stride, _mm512_shuffle_f32x4(even_low, even_high, 0x88));
      Store(to + (e + 4) * stride, _mm512_shuffle_f32x4(odd_low, odd_high, 0x88));
      Store(to + (e + 8) * stride, _mm512_shuffle_f32x4(even_low, even_high, 0xdd));
      Store(to + (e + 12) * stride, _mm512_shuffle_f32x4(odd_low, odd_high, 0xdd));
    }
  }

 private:
  // The first or the second 64 bits of each 128, of a and b in turn.
  template <bool kSecond>
  static SWITCHYARD_INLINE F Halves(F a, F b) {
    const __m512d x = _mm512_castps_pd(a), y = _mm512_castps_pd(b);
    return _mm512_castpd_ps(kSecond ? _mm512_unpackhi_pd(x, y) : _mm512_unpacklo_pd(x, y));
  }
  static SWITCHYARD_INLINE __mmask16 Mask(int64_t n) { return static_cast<__mmask16>((1u << n) - 1u); }
  static SWITCHYARD_INLINE F Widen(__m256i v) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16)); }
  static SWITCHYARD_INLINE __m256i Narrow(F v) { return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_castps_si512(RoundBf16(v)), 16)); }
};

}  // namespace switchyard::kernels
