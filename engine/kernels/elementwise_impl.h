// Norms, activation, rotary embedding, row statistics and conversions, templates over a SIMD type. Included by table_*.cc only.
// Tails run the vector code on a partly filled vector, so an element's result does not depend on where in the row it lies.
#pragma once

#include "engine/kernels/exp_impl.h"
#include "engine/kernels/inline.h"
#include "engine/kernels/kernel_table.h"

namespace switchyard::kernels {

// body(offset, lanes) over [0, n).
template <typename S, typename Body>
SWITCHYARD_INLINE void ForLanes(int64_t n, const Body& body) {
  int64_t i = 0;
  for (; i + S::kLanes <= n; i += S::kLanes) body(i, static_cast<int64_t>(S::kLanes));
  if (i < n) body(i, n - i);
}

template <typename S>
SWITCHYARD_INLINE typename S::F LoadSome(const float* p, int64_t lanes) {
  return lanes == S::kLanes ? S::Load(p) : S::LoadN(p, lanes);
}

template <typename S>
SWITCHYARD_INLINE void StoreSome(float* p, typename S::F v, int64_t lanes) {
  if (lanes == S::kLanes) {
    S::Store(p, v);
  } else {
    S::StoreN(p, v, lanes);
  }
}

template <typename S>
struct Elementwise {
  using F = typename S::F;

  static void RmsNorm(float* residual, const float* delta, const float* x, const float* weight, int64_t n, float eps, float* y) {
    F sum = S::Zero();
    if (delta != nullptr) {
      ForLanes<S>(
          n, [&](int64_t i, int64_t lanes) __attribute__((always_inline)) {
            const F v = S::Add(LoadSome<S>(residual + i, lanes), LoadSome<S>(delta + i, lanes));
            StoreSome<S>(residual + i, v, lanes);
            sum = S::Fma(v, v, sum);
          });
      x = residual;
    } else {
      ForLanes<S>(
          n, [&](int64_t i, int64_t lanes) __attribute__((always_inline)) {
            const F v = LoadSome<S>(x + i, lanes);
            sum = S::Fma(v, v, sum);
          });
    }
    const F scale = S::Set1(1.0f / __builtin_sqrtf(S::ReduceAdd(sum) / static_cast<float>(n) + eps));
    ForLanes<S>(
        n, [&](int64_t i, int64_t lanes) __attribute__((always_inline)) {
          StoreSome<S>(y + i, S::Mul(S::Mul(LoadSome<S>(x + i, lanes), scale), LoadSome<S>(weight + i, lanes)), lanes);
        });
  }

  static void SiluMul(const float* gate, const float* up, int64_t n, float* y) {
    ForLanes<S>(
        n, [&](int64_t i, int64_t lanes) __attribute__((always_inline)) {
          StoreSome<S>(y + i, S::Mul(Silu<S>(LoadSome<S>(gate + i, lanes)), LoadSome<S>(up + i, lanes)), lanes);
        });
  }

  static void Rope(float* head, int64_t dim, const float* cos, const float* sin) {
    const int64_t half = dim / 2;
    ForLanes<S>(
        half, [&](int64_t i, int64_t lanes) __attribute__((always_inline)) {
          const F a = LoadSome<S>(head + i, lanes), b = LoadSome<S>(head + half + i, lanes);
          const F c = LoadSome<S>(cos + i, lanes), s = LoadSome<S>(sin + i, lanes);
          StoreSome<S>(head + i, S::Sub(S::Mul(a, c), S::Mul(b, s)), lanes);
          StoreSome<S>(head + half + i, S::Add(S::Mul(b, c), S::Mul(a, s)), lanes);
        });
  }

  static LogSoftmaxStats RowStats(const float* logits, int64_t n) {
    LogSoftmaxStats stats;
    const float inf = __builtin_inff();
    F best = S::Set1(-inf), poison = S::Zero();
    ForLanes<S>(
        n, [&](int64_t i, int64_t lanes) __attribute__((always_inline)) {
          const F v = LoadSome<S>(logits + i, lanes);
          poison = S::Fma(v, S::Zero(), poison);  // NaN from the first value that is not finite
          if (lanes == S::kLanes) best = S::Max(v, best);
        });
    float max = S::ReduceMax(best);
    for (int64_t i = n - n % S::kLanes; i < n; ++i) max = logits[i] > max ? logits[i] : max;
    const float poisoned = S::ReduceAdd(poison);
    stats.finite = poisoned == poisoned;
    stats.max = max;
    while (stats.argmax + 1 < n && !(logits[stats.argmax] == max)) ++stats.argmax;
    F sum = S::Zero();
    float tail = 0.0f;
    const F shift = S::Set1(max);
    ForLanes<S>(
        n, [&](int64_t i, int64_t lanes) __attribute__((always_inline)) {
          const F e = Exp<S>(S::Sub(LoadSome<S>(logits + i, lanes), shift));
          if (lanes == S::kLanes) {
            sum = S::Add(sum, e);
          } else {
            float part[S::kLanes];
            S::Store(part, e);
            for (int64_t j = 0; j < lanes; ++j) tail += part[j];
          }
        });
    // A row that is not finite keeps an honest sum: NaN if there is one, else the infinity itself.
    const float total = S::ReduceAdd(sum) + tail;
    stats.log_sum_exp = max == inf || max == -inf ? (HasNan(logits, n) ? __builtin_nanf("") : max) : max + __builtin_logf(total);
    return stats;
  }

  static void F32ToBf16(const float* x, int64_t n, bf16* y) {
    int64_t i = 0;
    for (; i + S::kLanes <= n; i += S::kLanes) S::StoreBf16(y + i, S::Load(x + i));
    if (i < n) S::StoreBf16N(y + i, S::LoadN(x + i, n - i), n - i);
  }

  static void Bf16ToF32(const bf16* x, int64_t n, float* y) {
    int64_t i = 0;
    for (; i + S::kLanes <= n; i += S::kLanes) S::Store(y + i, S::LoadBf16(x + i));
    if (i < n) S::StoreN(y + i, S::LoadBf16N(x + i, n - i), n - i);
  }

 private:
  static bool HasNan(const float* x, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
      if (x[i] != x[i]) return true;
    }
    return false;
  }
};

}  // namespace switchyard::kernels
