// Eight lanes. See simd_avx512.h for the meaning of each function. Included only by files compiled with -mavx2 -mfma.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "engine/kernels/inline.h"

namespace switchyard::kernels {

struct SimdAvx2 {
  using F = __m256;
  static constexpr int kLanes = 8;
  static constexpr int kRows = 6;
  static constexpr int kPanels = 2;
  static constexpr int kTallRows = 0;
  static constexpr int kTallPanels = 0;

  static SWITCHYARD_INLINE F Zero() { return _mm256_setzero_ps(); }
  static SWITCHYARD_INLINE F Set1(float v) { return _mm256_set1_ps(v); }
  static SWITCHYARD_INLINE F Load(const float* p) { return _mm256_loadu_ps(p); }
  static SWITCHYARD_INLINE F LoadN(const float* p, int64_t n) { return _mm256_maskload_ps(p, Mask(n)); }
  static SWITCHYARD_INLINE void Store(float* p, F v) { _mm256_storeu_ps(p, v); }
  static SWITCHYARD_INLINE void StoreN(float* p, F v, int64_t n) { _mm256_maskstore_ps(p, Mask(n), v); }
  static SWITCHYARD_INLINE F Add(F a, F b) { return _mm256_add_ps(a, b); }
  static SWITCHYARD_INLINE F Sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static SWITCHYARD_INLINE F Mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static SWITCHYARD_INLINE F Div(F a, F b) { return _mm256_div_ps(a, b); }
  static SWITCHYARD_INLINE F Fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static SWITCHYARD_INLINE F Max(F a, F b) { return _mm256_max_ps(a, b); }
  static SWITCHYARD_INLINE F Min(F a, F b) { return _mm256_min_ps(a, b); }
  static SWITCHYARD_INLINE F Round(F a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  // In two halves, so that results below the normal range and above the largest float come out right.
  static SWITCHYARD_INLINE F ScalePow2(F a, F n) {
    const __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1), bias = _mm256_set1_epi32(127);
    const __m256i low = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    const __m256i high = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(whole, half), bias), 23);
    return _mm256_mul_ps(_mm256_mul_ps(a, _mm256_castsi256_ps(low)), _mm256_castsi256_ps(high));
  }
  static SWITCHYARD_INLINE float ReduceAdd(F a) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
  static SWITCHYARD_INLINE float ReduceMax(F a) {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
  }

  static SWITCHYARD_INLINE F LoadBf16(const uint16_t* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
  }
  static SWITCHYARD_INLINE F LoadBf16N(const uint16_t* p, int64_t n) {
    uint16_t full[8] = {};
    for (int64_t i = 0; i < n; ++i) full[i] = p[i];
    return LoadBf16(full);
  }
  static SWITCHYARD_INLINE void StoreBf16(uint16_t* p, F v) {
    const __m256i u = _mm256_srli_epi32(_mm256_castps_si256(RoundBf16(v)), 16);
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(u, u), 0xd8);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
  }
  static SWITCHYARD_INLINE void StoreBf16N(uint16_t* p, F v, int64_t n) {
    uint16_t full[8];
    StoreBf16(full, v);
    for (int64_t i = 0; i < n; ++i) p[i] = full[i];
  }
  static SWITCHYARD_INLINE F RoundBf16(F v) {
    const __m256i u = _mm256_castps_si256(v), upper = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i nan = _mm256_or_si256(u, _mm256_set1_epi32(0x00400000));
    const F is_nan = _mm256_cmp_ps(v, v, _CMP_UNORD_Q);
    return _mm256_blendv_ps(_mm256_castsi256_ps(_mm256_and_si256(rounded, upper)), _mm256_castsi256_ps(_mm256_and_si256(nan, upper)),
                            is_nan);
  }
  static SWITCHYARD_INLINE F PairLow(const uint16_t* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), 16));
  }
  static SWITCHYARD_INLINE F PairHigh(const uint16_t* p) {
    return _mm256_castsi256_ps(
        _mm256_and_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
  }
  static SWITCHYARD_INLINE void StoreTransposed(const F (&row)[8], float* to, int64_t stride) {
    F pairs[8], quads[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i += 2) {
      pairs[i] = _mm256_unpacklo_ps(row[i], row[i + 1]);
      pairs[i + 1] = _mm256_unpackhi_ps(row[i], row[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {  // quads[i + e]: element e of each 128-bit lane, of rows i .. i + 3
      quads[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
      quads[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xee);
      quads[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
      quads[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int e = 0; e < 4; ++e) {
      Store(to + e * stride, _mm256_permute2f128_ps(quads[e], quads[e + 4], 0x20));
      Store(to + (e + 4) * stride, _mm256_permute2f128_ps(quads[e], quads[e + 4], 0x31));
    }
  }

 private:
  static SWITCHYARD_INLINE __m256i Mask(int64_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
};

}  // namespace switchyard::kernels
