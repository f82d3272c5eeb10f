// The matrix kernel, a template over how one step along k is multiplied. Included by table_*.cc only.
//
// Every output element has one fp32 accumulator, filled in the order of k from its starting value (bias, or y when accumulating). Row
// blocks, panel blocks and k tiles only decide when an element's next step runs: an accumulator that rests in y between two k tiles loses
// nothing. That is why a row's result is the same bits in every shape of call.
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
  static constexpr bool kPairs = false;

  // `lanes` values of a packed row, from `column` on.
  static SWITCHYARD_INLINE void StoreX(char* row, int64_t column, typename S::F v, int64_t lanes) {
    S::StoreN(reinterpret_cast<float*>(row) + column, v, lanes);
  }

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
  using X = float;  // rounded to bf16 values
  using W = uint16_t;
  static constexpr int kXPerStep = 2;
  static constexpr int kWPerStep = 2 * S::kLanes;
  static constexpr bool kPairs = true;

  static SWITCHYARD_INLINE void StoreX(char* row, int64_t column, typename S::F v, int64_t lanes) {
    S::StoreN(reinterpret_cast<float*>(row) + column, S::RoundBf16(v), lanes);
  }

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
    float* y;               // at the panel's column: of the block's first row, or of row 0 with y_rows
    const int64_t* y_rows;  // of the block's rows
    const float* bias;      // null but for the first k tile
    int64_t steps;
    int64_t columns;  // valid ones of the C panels
    bool load_y;
    const W* prefetch;  // of the weights needed next, as many steps of this many panels
    int prefetch_panels;
  };

  template <int R, int C>
  static void Micro(const GemmArgs& args, const Tile& t) {
    F acc[R][C];
    const bool full = t.columns == C * L;
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c) acc[r][c] = Start(t, YRow(args, t, r), c, full);
    }
    const X* x = t.x;
    const W* w = t.w;
    const W* ahead = t.prefetch;
    for (int64_t step = 0; step < t.steps; ++step) {
      Step::template Run<R, C>(acc, x, args.x_stride, w, args.panel_stride);
      for (int c = 0; c < t.prefetch_panels; ++c) __builtin_prefetch(ahead + c * args.panel_stride, 0, 2);
      x += Step::kXPerStep;
      w += Step::kWPerStep;
      ahead += Step::kWPerStep;
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c) {
        float* y = YRow(args, t, r) + c * L;
        if (full) {
          S::Store(y, acc[r][c]);
        } else {
          S::StoreN(y, acc[r][c], Valid(t, c));
        }
      }
    }
  }

  static SWITCHYARD_INLINE float* YRow(const GemmArgs& args, const Tile& t, int r) {
    return t.y + (t.y_rows != nullptr ? t.y_rows[r] : r) * args.y_stride;
  }

  static SWITCHYARD_INLINE int64_t Valid(const Tile& t, int c) {
    const int64_t left = t.columns - c * L;
    return left >= L ? L : left < 0 ? 0 : left;
  }

  static SWITCHYARD_INLINE F Start(const Tile& t, const float* y_row, int c, bool full) {
    const int64_t valid = full ? L : Valid(t, c);
    F value = t.load_y ? S::LoadN(y_row + c * L, valid) : S::Zero();
    if (t.bias != nullptr) value = S::Add(value, S::LoadN(t.bias + c * L, valid));
    return value;
  }

  // Min <= rows <= Max.
  template <int C, int Min, int Max>
  static SWITCHYARD_INLINE void RowBlock(const GemmArgs& args, const Tile& tile, int64_t rows) {
    if constexpr (Min < Max) {
      if (rows < Max) return RowBlock<C, Min, Max - 1>(args, tile, rows);
    }
    Micro<Max, C>(args, tile);
  }

  // All rows in blocks of Min to Max against C panels from `panel`, one k tile after the other.
  template <int C, int Min, int Max>
  static void PanelBlock(const GemmArgs& args, int64_t row_begin, int64_t row_end, int64_t panel) {
    const int64_t rows = row_end - row_begin, blocks = (rows + Max - 1) / Max, block = (rows + blocks - 1) / blocks;
    const int64_t tile_steps = blocks == 1 ? args.steps : kTileBytes / (C * Step::kWPerStep * static_cast<int64_t>(sizeof(W)));
    const int64_t columns = args.n - panel * L;
    const W* w = static_cast<const W*>(args.w) + panel * args.panel_stride;
    int64_t step = 0;
    do {
      Tile tile;
      tile.w = w + step * Step::kWPerStep;
      tile.bias = step == 0 && args.bias != nullptr ? args.bias + panel * L : nullptr;
      tile.steps = args.steps - step < tile_steps ? args.steps - step : tile_steps;
      tile.columns = columns < C * L ? columns : C * L;
      tile.load_y = args.accumulate || step > 0;
      // The first row block waits for memory; the others fetch meanwhile what the next first block will wait for.
      const bool last_tile = step + tile.steps >= args.steps;
      const W* next = last_tile ? w + C * args.panel_stride : tile.w + tile.steps * Step::kWPerStep;
      const bool has_next = blocks > 1 && (!last_tile || columns > C * L);
      const int share = static_cast<int>(blocks > C ? 1 : (C + blocks - 2) / (blocks - 1 + (blocks == 1)));
      int fetched = 0;
      for (int64_t row = row_begin; row < row_end; row += block) {
        tile.x = static_cast<const X*>(args.x) + row * args.x_stride + step * Step::kXPerStep;
        tile.y = args.y + (args.y_rows != nullptr ? 0 : row * args.y_stride) + panel * L;
        tile.y_rows = args.y_rows != nullptr ? args.y_rows + row : nullptr;
        tile.prefetch = next + fetched * args.panel_stride;
        tile.prefetch_panels = has_next && row > row_begin ? (C - fetched < share ? C - fetched : share) : 0;
        fetched += tile.prefetch_panels;
        RowBlock<C, Min, Max>(args, tile, row_end - row < block ? row_end - row : block);
      }
      step += tile_steps;
    } while (step < args.steps);
  }

  template <int C, int Min, int Max>
  static void Panels(const GemmArgs& args, int64_t row_begin, int64_t row_end, int64_t panel_begin, int64_t panel_end) {
    int64_t panel = panel_begin;
    for (; panel + C <= panel_end; panel += C) PanelBlock<C, Min, Max>(args, row_begin, row_end, panel);
    for (; panel < panel_end; ++panel) PanelBlock<1, Min, Max>(args, row_begin, row_end, panel);
  }

  static void Run(const GemmArgs& args, int64_t row_begin, int64_t row_end, int64_t panel_begin, int64_t panel_end) {
    if constexpr (S::kTallRows > S::kRows) {
      // Weights from memory are better streamed once past a few more rows than twice.
      const int64_t rows = row_end - row_begin;
      // So few columns that the wide shape would run with one panel and a few accumulators: low-rank products.
      if (rows > S::kRows && panel_end - panel_begin < S::kPanels) {
        return Panels<S::kTallPanels, 1, S::kTallRows>(args, row_begin, row_end, panel_begin, panel_end);
      }
      if (rows > S::kRows && rows <= S::kTallRows) {
        return Panels<S::kTallPanels, S::kRows + 1, S::kTallRows>(args, row_begin, row_end, panel_begin, panel_end);
      }
    }
    Panels<S::kPanels, 1, S::kRows>(args, row_begin, row_end, panel_begin, panel_end);
  }
};

}  // namespace switchyard::kernels
