// Low-rank products of one row, templates over a SIMD type. Included by table_*.cc only.
#pragma once

#include "engine/kernels/elementwise_impl.h"
#include "engine/kernels/inline.h"

namespace switchyard::kernels {

template <typename S>
struct Lora {
  using F = typename S::F;
  static constexpr int L = S::kLanes;

  static void Shrink(const float* x, int64_t k, const float* a, int64_t rank, float* z) {
    int64_t r = 0;
    for (; r + 8 <= rank; r += 8) Dots<8>(x, k, a + r * k, z + r);
    for (; r < rank; ++r) Dots<1>(x, k, a + r * k, z + r);
  }

  static void ExpandAdd(const float* z, int64_t rank, const float* b_t, int64_t n, float scale, float* y) {
    const F s = S::Set1(scale);
    int64_t i = 0;
    for (; i + 4 * L <= n; i += 4 * L) {
      F acc[4];
      Expand4(z, rank, b_t + i, n, acc);
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c) S::Store(y + i + c * L, S::Fma(s, acc[c], S::Load(y + i + c * L)));
    }
    for (; i < n; i += L) {
      const int64_t lanes = n - i < L ? n - i : L;
      StoreSome<S>(y + i, S::Fma(s, Expand1(z, rank, b_t + i, n, lanes), LoadSome<S>(y + i, lanes)), lanes);
    }
  }

 private:
  // z[j] = a[j] · x for R neighbouring rows of a.
  template <int R>
  static void Dots(const float* x, int64_t k, const float* a, float* z) {
    F acc[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) acc[r] = S::Zero();
    int64_t i = 0;
    for (; i + L <= k; i += L) {
      const F v = S::Load(x + i);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) acc[r] = S::Fma(v, S::Load(a + r * k + i), acc[r]);
    }
    if (i < k) {
      const F v = S::LoadN(x + i, k - i);
      for (int r = 0; r < R; ++r) acc[r] = S::Fma(v, S::LoadN(a + r * k + i, k - i), acc[r]);
    }
    for (int r = 0; r < R; ++r) z[r] = S::ReduceAdd(acc[r]);
  }

  // sum_r z[r] b_t[r] over four full vectors, in the order of r.
  static SWITCHYARD_INLINE void Expand4(const float* z, int64_t rank, const float* b_t, int64_t n, F (&acc)[4]) {
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) acc[c] = S::Zero();
    for (int64_t r = 0; r < rank; ++r) {
      const F v = S::Set1(z[r]);
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c) acc[c] = S::Fma(v, S::Load(b_t + r * n + c * L), acc[c]);
    }
  }

  static SWITCHYARD_INLINE F Expand1(const float* z, int64_t rank, const float* b_t, int64_t n, int64_t lanes) {
    F acc = S::Zero();
    for (int64_t r = 0; r < rank; ++r) acc = S::Fma(S::Set1(z[r]), LoadSome<S>(b_t + r * n, lanes), acc);
    return acc;
  }
};

}  // namespace switchyard::kernels
