// The backward pass of an expert's hidden units in one pass over them, a template over the step of gemm_impl.h. Included by table_*.cc only.
#pragma once

#include "engine/kernels/elementwise_impl.h"
#include "engine/kernels/gemm_impl.h"
#include "engine/kernels/hidden_impl.h"

namespace switchyard::kernels {

template <typename Step>
struct HiddenBackKernel {
  using S = typename Step::Simd;
  using F = typename S::F;
  using Base = typename Step::W;  // what gate and up are kept in: the type of the weights
  static constexpr int L = S::kLanes;
  static constexpr int kRows = 4;
  static constexpr int kPanels = S::kPanels > 1 ? S::kPanels / 2 : 1;  // gate, up and back of them

  static void Run(const HiddenBackArgs& t) {
    for (int64_t row = 0; row < t.count; row += kRows) {
      if (t.weights != nullptr) {
        Rows<kRows, true>(t, row, t.count - row);
      } else {
        Rows<kRows, false>(t, row, t.count - row);
      }
    }
    if (!Step::kPairs || t.columns % 2 == 0) return;
    for (char* own : {t.own_dgate, t.own_dup}) {
      for (int64_t row = 0; own != nullptr && row < t.count; ++row) Step::StoreX(own + row * t.own_bytes, t.columns, S::Zero(), 1);
    }
  }

 private:
  template <int R, bool kGradients>
  static SWITCHYARD_INLINE void Rows(const HiddenBackArgs& t, int64_t row, int64_t left) {
    if constexpr (R > 1) {
      if (left < R) return Rows<R - 1, kGradients>(t, row, left);
    }
    F dots[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) dots[r] = S::Zero();
    const int64_t panels = (t.columns + L - 1) / L;
    int64_t panel = 0;
    for (; panel + kPanels <= panels; panel += kPanels) Micro<R, kPanels, kGradients>(t, row, panel, dots);
    for (; panel < panels; ++panel) Micro<R, 1, kGradients>(t, row, panel, dots);
    for (int r = 0; t.dots != nullptr && r < R; ++r) t.dots[row + r] = S::ReduceAdd(dots[r]);
  }

  template <int R, int C, bool kGradients>
  static void Micro(const HiddenBackArgs& t, int64_t row, int64_t panel, F (&dots)[R]) {
    F gate[R][C], up[R][C], back[R][C];
    ExpandRows<Step, R, C>(static_cast<const Base*>(t.gate), t.stride, t.rows, t.columns, t.gate_lora, row, panel, gate);
    ExpandRows<Step, R, C>(static_cast<const Base*>(t.up), t.stride, t.rows, t.columns, t.up_lora, row, panel, up);
    ExpandRows<Step, R, C>(t.back, t.stride, t.rows, t.columns, t.back_lora, row, panel, back);
    const F one = S::Set1(1.0f);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c) {
        const int64_t column = (panel + c) * L, lanes = t.columns - column < L ? t.columns - column : L;
        const F sigmoid = S::Div(one, S::Add(one, Exp<S>(S::Sub(S::Zero(), gate[r][c])))), silu = S::Mul(gate[r][c], sigmoid);
        const F d = back[r][c];
        dots[r] = S::Fma(S::Mul(silu, up[r][c]), d, dots[r]);
        if constexpr (kGradients) {
          // silu'(g) = s (1 + g (1 - s)) = s + silu(g) (1 - s)
          const F weighted = S::Mul(S::Set1(t.weights[row + r]), d), slope = S::Fma(silu, S::Sub(one, sigmoid), sigmoid);
          Give(t, row + r, column, lanes, S::Mul(S::Mul(weighted, up[r][c]), slope), t.dgate, t.own_dgate);
          Give(t, row + r, column, lanes, S::Mul(weighted, silu), t.dup, t.own_dup);
        }
      }
    }
  }

  static SWITCHYARD_INLINE void Give(const HiddenBackArgs& t, int64_t row, int64_t column, int64_t lanes, F v, float* sums, char* own) {
    float* sum = sums + t.rows[row] * t.stride + column;
    StoreSome<S>(sum, t.first[row] != 0 ? v : S::Add(v, LoadSome<S>(sum, lanes)), lanes);
    if (own != nullptr) Step::StoreX(own + row * t.own_bytes, column, v, lanes);
  }
};

}  // namespace switchyard::kernels
