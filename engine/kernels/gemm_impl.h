// The matrix kernel, a template over how one step along k is multiplied. Included by table_*.cc only.
//
// Every output element has one fp32 accumulator, filled in the order of k from its starting value (bias, or y when accumulating). Row blocks, panel
// blocks and k tiles only decide when an element's next step runs: an accumulator that rests in y between two k tiles loses nothing. That is why
// a row's result is the same bits in every shape of call.
#pragma once

#include "engine/kernels/inline.h"
#include "engine/kernels/kernel_table.h"

namespace switchyard::kernels {

// f32 weights, one k per step.
template <typename S>
struct StepF32 {
  using Simd = S;
  using X = float;
  using W = float;
  static constexpr int kXPerStep = 1;
  static constexpr int kWPerStep = S::kLanes;

  template <int R, int C>
  static SWITCHYARD_INLINE void Run(typename S::F (&acc)[R][C], const X* x, int64_t x_stride, const W* w, int64_t panel_stride) {
    typename S::F b[C];
#pragma GCC unroll 16
    for (int c = 0; c < C; ++c) b[c] = S::Load(w + c * panel_stride);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const typename S::F a = S::Set1(x[r * x_stride]);
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c) acc[r][c] = S::Fma(a, b[c], acc[r][c]);
    }
  }
};

// bf16 weights in pairs, widened to f32: two k per step, the even one first.
template <typename S>
struct StepWidened {
  using Simd = S;
  using X = float;   // rounded to bf16 values
  using W = uint16_t;
  static constexpr int kXPerStep = 2;
  static constexpr int kWPerStep = 2 * S::kLanes;

  template <int R, int C>
  static SWITCHYARD_INLINE void Run(typename S::F (&acc)[R][C], const X* x, int64_t x_stride, const W* w, int64_t panel_stride) {
    typename S::F b[C];
#pragma GCC unroll 16
    for (int c = 0; c < C; ++c) b[c] = S::PairLow(w + c * panel_stride);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const typename S::F a = S::Set1(x[r * x_stride]);
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c) acc[r][c] = S::Fma(a, b[c], acc[r][c]);
    }
#pragma GCC unroll 16
    for (int c = 0; c < C; ++c) b[c] = S::PairHigh(w + c * panel_stride);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const typename S::F a = S::Set1(x[r * x_stride + 1]);
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c) acc[r][c] = S::Fma(a, b[c], acc[r][c]);
    }
  }
};

// How StepWidened wants x: every value rounded to bf16, as floats, an odd k padded by zero.
template <typename S>
void RoundXToFloats(const float* x, int64_t m, int64_t k, int64_t x_stride, void* packed, int64_t packed_stride) {
  for (int64_t row = 0; row < m; ++row) {
    const float* from = x + row * x_stride;
    float* to = static_cast<float*>(packed) + row * packed_stride;
    int64_t i = 0;
    for (; i + S::kLanes <= k; i += S::kLanes) S::Store(to + i, S::RoundBf16(S::Load(from + i)));
    if (i < k) S::StoreN(to + i, S::RoundBf16(S::LoadN(from + i, k - i)), k - i);
    if (k % 2 != 0) to[k] = 0.0f;
  }
}

template <typename Step>
struct GemmKernel {
  using S = typename Step::Simd;
  using F = typename S::F;
  using X = typename Step::X;
  using W = typename Step::W;
  static constexpr int L = S::kLanes;
  // Bytes of a block of weights kept in the second-level cache while the row blocks pass over it.
  static constexpr int64_t kTileBytes = 256 * 1024;

  struct Tile {
    const X* x;
    const W* w;
    float* y;
    const float* bias;     // null but for the first k tile
    int64_t steps;
    int64_t columns;       // valid ones of the C panels
    bool load_y;
  };

  template <int R, int C>
  static void Micro(const GemmArgs& args, const Tile& t) {
    F acc[R][C];
    const bool full = t.columns == C * L;
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c) acc[r][c] = Start(t, args.y_stride, r, c, full);
    }
    const X* x = t.x;
    const W* w = t.w;
    for (int64_t step = 0; step < t.steps; ++step) {
      Step::template Run<R, C>(acc, x, args.x_stride, w, args.panel_stride);
      x += Step::kXPerStep;
      w += Step::kWPerStep;
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c) {
        float* y = t.y + r * args.y_stride + c * L;
        if (full) {
          S::Store(y, acc[r][c]);
        } else {
          S::StoreN(y, acc[r][c], Valid(t, c));
        }
      }
    }
  }

  static SWITCHYARD_INLINE int64_t Valid(const Tile& t, int c) {
    const int64_t left = t.columns - c * L;
    return left >= L ? L : left < 0 ? 0 : left;
  }

  static SWITCHYARD_INLINE F Start(const Tile& t, int64_t y_stride, int r, int c, bool full) {
    const int64_t valid = full ? L : Valid(t, c);
    F value = t.load_y ? S::LoadN(t.y + r * y_stride + c * L, valid) : S::Zero();
    if (t.bias != nullptr) value = S::Add(value, S::LoadN(t.bias + c * L, valid));
    return value;
  }

  template <int C>
  static void RowBlock(const GemmArgs& args, const Tile& tile, int rows) {
    switch (rows) {
      case 1: return Micro<1, C>(args, tile);
      case 2: return Micro<2, C>(args, tile);
      case 3: return Micro<3, C>(args, tile);
      case 4: return Micro<4, C>(args, tile);
      case 5: return Micro<5, C>(args, tile);
      default: return Micro<6, C>(args, tile);
    }
  }

  // All rows against C panels from `panel`, one k tile after the other.
  template <int C>
  static void PanelBlock(const GemmArgs& args, int64_t row_begin, int64_t row_end, int64_t panel) {
    const int64_t rows = row_end - row_begin;
    const int64_t tile_steps = rows <= S::kRows ? args.steps : kTileBytes / (C * Step::kWPerStep * static_cast<int64_t>(sizeof(W)));
    const int64_t columns = args.n - panel * L < C * L ? args.n - panel * L : C * L;
    const W* w = static_cast<const W*>(args.w) + panel * args.panel_stride;
    for (int64_t step = 0; step < args.steps || step == 0; step += tile_steps) {
      const int64_t steps = args.steps - step < tile_steps ? args.steps - step : tile_steps;
      for (int64_t row = row_begin; row < row_end;) {
        const int64_t left = row_end - row;
        const int block = static_cast<int>(left < S::kRows ? left : S::kRows);
        Tile tile;
        tile.x = static_cast<const X*>(args.x) + row * args.x_stride + step * Step::kXPerStep;
        tile.w = w + step * Step::kWPerStep;
        tile.y = args.y + row * args.y_stride + panel * L;
        tile.bias = step == 0 && args.bias != nullptr ? args.bias + panel * L : nullptr;
        tile.steps = steps;
        tile.columns = columns;
        tile.load_y = args.accumulate || step > 0;
        RowBlock<C>(args, tile, block);
        row += block;
      }
      if (tile_steps == 0) break;
    }
  }

  static void Run(const GemmArgs& args, int64_t row_begin, int64_t row_end, int64_t panel_begin, int64_t panel_end) {
    int64_t panel = panel_begin;
    for (; panel + S::kPanels <= panel_end; panel += S::kPanels) PanelBlock<S::kPanels>(args, row_begin, row_end, panel);
    for (; panel < panel_end; ++panel) PanelBlock<1>(args, row_begin, row_end, panel);
  }
};

}  // namespace switchyard::kernels
