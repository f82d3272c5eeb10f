// One lane: the fallback, and the plainest statement of what the wider types do. See simd_avx512.h for the meaning of each function.
#pragma once

#include <cstdint>

#include "engine/kernels/inline.h"

namespace switchyard::kernels {

struct SimdScalar {
  using F = float;
  static constexpr int kLanes = 1;
  static constexpr int kRows = 4;    // row block of the matrix kernels
  static constexpr int kPanels = 2;  // column panels beside each other
  static constexpr int kTallRows = 0;
  static constexpr int kTallPanels = 0;

  static SWITCHYARD_INLINE F Zero() { return 0.0f; }
  static SWITCHYARD_INLINE F Set1(float v) { return v; }
  static SWITCHYARD_INLINE F Load(const float* p) { return *p; }
  static SWITCHYARD_INLINE F LoadN(const float* p, int64_t n) { return n > 0 ? *p : 0.0f; }
  static SWITCHYARD_INLINE void Store(float* p, F v) { *p = v; }
  static SWITCHYARD_INLINE void StoreN(float* p, F v, int64_t n) {
    if (n > 0) *p = v;
  }
  static SWITCHYARD_INLINE F Add(F a, F b) { return a + b; }
  static SWITCHYARD_INLINE F Sub(F a, F b) { return a - b; }
  static SWITCHYARD_INLINE F Mul(F a, F b) { return a * b; }
  static SWITCHYARD_INLINE F Div(F a, F b) { return a / b; }
  static SWITCHYARD_INLINE F Fma(F a, F b, F c) { return a * b + c; }
  static SWITCHYARD_INLINE F Max(F a, F b) { return a > b ? a : b; }
  static SWITCHYARD_INLINE F Min(F a, F b) { return a < b ? a : b; }
  static SWITCHYARD_INLINE F Round(F a) { return (a + 12582912.0f) - 12582912.0f; }  // |a| < 2^22
  static SWITCHYARD_INLINE F ScalePow2(F a, F n) {
    if (n != n) return n;
    const int whole = static_cast<int>(n), half = whole >> 1;
    return a * FromBits(static_cast<uint32_t>(half + 127) << 23) * FromBits(static_cast<uint32_t>(whole - half + 127) << 23);
  }
  static SWITCHYARD_INLINE float ReduceAdd(F a) { return a; }
  static SWITCHYARD_INLINE float ReduceMax(F a) { return a; }

  static SWITCHYARD_INLINE F LoadBf16(const uint16_t* p) { return FromBits(static_cast<uint32_t>(*p) << 16); }
  static SWITCHYARD_INLINE F LoadBf16N(const uint16_t* p, int64_t n) { return n > 0 ? LoadBf16(p) : 0.0f; }
  static SWITCHYARD_INLINE void StoreBf16(uint16_t* p, F v) { *p = static_cast<uint16_t>(Bits(RoundBf16(v)) >> 16); }
  static SWITCHYARD_INLINE void StoreBf16N(uint16_t* p, F v, int64_t n) {
    if (n > 0) StoreBf16(p, v);
  }
  static SWITCHYARD_INLINE F RoundBf16(F v) {
    const uint32_t u = Bits(v);
    if (v != v) return FromBits((u | 0x00400000u) & 0xffff0000u);
    return FromBits((u + 0x7fffu + ((u >> 16) & 1u)) & 0xffff0000u);
  }
  static SWITCHYARD_INLINE F PairLow(const uint16_t* p) { return FromBits(static_cast<uint32_t>(p[0]) << 16); }
  static SWITCHYARD_INLINE F PairHigh(const uint16_t* p) { return FromBits(static_cast<uint32_t>(p[1]) << 16); }
  static SWITCHYARD_INLINE void StoreTransposed(const F (&row)[1], float* to, int64_t) { *to = row[0]; }

 private:
  static SWITCHYARD_INLINE uint32_t Bits(float v) { return __builtin_bit_cast(uint32_t, v); }
  static SWITCHYARD_INLINE float FromBits(uint32_t v) { return __builtin_bit_cast(float, v); }
};

}  // namespace switchyard::kernels
