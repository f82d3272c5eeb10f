// An expert's hidden units: both low-rank products, silu, the product and the weighted sum over the experts in one pass, a template over
// the step of gemm_impl.h. Included by table_*.cc only.
//
// Gate and up are read once and left alone, so several experts may start from them; what the down projection's adapter reads is written
// in the form its product wants. Every element is computed by itself: the same bits in every block of rows and columns.
#pragma once

#include "engine/kernels/elementwise_impl.h"
#include "engine/kernels/gemm_impl.h"

namespace switchyard::kernels {

template <typename S>
SWITCHYARD_INLINE typename S::F LoadWide(const float* p, int64_t lanes) {
  return LoadSome<S>(p, lanes);
}
template <typename S>
SWITCHYARD_INLINE typename S::F LoadWide(const uint16_t* p, int64_t lanes) {
  return lanes == S::kLanes ? S::LoadBf16(p) : S::LoadBf16N(p, lanes);
}

// Rows [row, row + R) of [., columns] at `base`, columns from `panel` on, plus the low-rank product.
template <typename Step, int R, int C, typename T>
SWITCHYARD_INLINE void ExpandRows(const T* base, int64_t stride, const int64_t* rows, int64_t columns, const HiddenLora& lora, int64_t row,
                                  int64_t panel, typename Step::Simd::F (&acc)[R][C]) {
  using S = typename Step::Simd;
  constexpr int L = S::kLanes;
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int c = 0; c < C; ++c) {
      const int64_t column = (panel + c) * L, left = columns - column;
      acc[r][c] = LoadWide<S>(base + rows[row + r] * stride + column, left < L ? left : L);
    }
  }
  const auto* z = static_cast<const typename Step::X*>(lora.z) + row * lora.z_stride;
  const auto* w = static_cast<const typename Step::W*>(lora.w) + panel * lora.panel_stride;
  for (int64_t step = 0; step < lora.steps; ++step) {
    Step::template Run<R, C>(acc, z + step * Step::kXPerStep, lora.z_stride, w + step * Step::kWPerStep, lora.panel_stride);
  }
}

template <typename Step>
struct HiddenKernel {
  using S = typename Step::Simd;
  using F = typename S::F;
  static constexpr int L = S::kLanes;
  static constexpr int kRows = 4;
  static constexpr int kPanels = S::kPanels > 1 ? S::kPanels / 2 : 1;  // gate and up of them

  // Rows [row, row + R), panels [panel, panel + C).
  template <int R, int C>
  static void Micro(const HiddenArgs& t, int64_t row, int64_t panel) {
    F gate[R][C], up[R][C];
    const int64_t column = panel * L;
    ExpandRows<Step, R, C>(t.gate, t.stride, t.rows, t.columns, t.gate_lora, row, panel, gate);
    ExpandRows<Step, R, C>(t.up, t.stride, t.rows, t.columns, t.up_lora, row, panel, up);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      float* h = t.h + t.rows[row + r] * t.stride + column;
      char* hidden = t.hidden == nullptr ? nullptr : t.hidden + (row + r) * t.hidden_bytes;
      const F weight = S::Set1(t.weights[row + r]);
      const bool first = t.first[row + r] != 0;
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c) {
        const int64_t lanes = Lanes(t, column + c * L);
        const F v = S::Mul(Silu<S>(gate[r][c]), up[r][c]);
        const F sum = first ? S::Mul(weight, v) : S::Fma(weight, v, LoadSome<S>(h + c * L, lanes));
        StoreSome<S>(h + c * L, sum, lanes);
        if (hidden != nullptr) Step::StoreX(hidden, column + c * L, v, lanes);
      }
    }
  }

  static void Run(const HiddenArgs& t) {
    for (int64_t row = 0; row < t.count; row += kRows) Rows<kRows>(t, row, t.count - row);
    if (!Step::kPairs || t.hidden == nullptr || t.columns % 2 == 0) return;
    for (int64_t row = 0; row < t.count; ++row) Step::StoreX(t.hidden + row * t.hidden_bytes, t.columns, S::Zero(), 1);
  }

 private:
  static SWITCHYARD_INLINE int64_t Lanes(const HiddenArgs& t, int64_t column) { return t.columns - column < L ? t.columns - column : L; }

  template <int R>
  static void Rows(const HiddenArgs& t, int64_t row, int64_t left) {
    if constexpr (R > 1) {
      if (left < R) return Rows<R - 1>(t, row, left);
    }
    const int64_t panels = (t.columns + L - 1) / L;
    int64_t panel = 0;
    for (; panel + kPanels <= panels; panel += kPanels) Micro<R, kPanels>(t, row, panel);
    for (; panel < panels; ++panel) Micro<R, 1>(t, row, panel);
  }
};

}  // namespace switchyard::kernels
