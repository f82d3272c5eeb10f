// Attention of a few query rows over paged keys and values, a template over a SIMD type. Included by table_*.cc only.
//
// Keys are taken in blocks of kKeys positions counted from position 0, with an online softmax whose state (largest score, sum, weighted
// values) belongs to one query. A query meets the same blocks and the same order of sums whether it comes alone or among others.
#pragma once

#include "engine/kernels/elementwise_impl.h"
#include "engine/kernels/exp_impl.h"
#include "engine/kernels/inline.h"
#include "engine/kernels/kernel_table.h"

namespace switchyard::kernels {

template <typename S>
struct Attention {
  using F = typename S::F;
  static constexpr int L = S::kLanes;
  static constexpr int kKeys = 64;
  static constexpr int kRows = S::kRows;
  static constexpr int kRowLanes = (kRows + L - 1) / L * L;

  static int64_t Padded(int64_t dim) { return (dim + 15) / 16 * 16; }

  struct Scratch {
    float *k_t, *v, *p, *q, *o, *max, *sum;  // [dim][kKeys], [kKeys][padded], [kRows][kKeys], [queries][padded] twice, [queries] twice
    Scratch(float* base, int64_t queries, int64_t padded) {
      k_t = base;
      v = k_t + padded * kKeys;
      p = v + padded * kKeys;
      q = p + kRows * kKeys;
      o = q + queries * padded;
      max = o + queries * padded;
      sum = max + queries;
    }
  };

  static int64_t ScratchFloats(int64_t queries, int64_t dim) {
    return 2 * Padded(dim) * kKeys + kRows * kKeys + 2 * queries * Padded(dim) + 2 * queries;
  }

  static void Run(const AttentionArgs& args, float* base) {
    const int64_t queries = args.rows * args.group, padded = Padded(args.dim);
    const Scratch scratch(base, queries, padded);
    LoadQueries(args, scratch, padded);
    const int64_t last = args.first_position + args.rows - 1;
    for (int64_t key = 0; key <= last; key += kKeys) {
      const int64_t keys = last + 1 - key < kKeys ? last + 1 - key : kKeys;
      Prefetch(args, args.v_pool, key, keys);
      LoadKeys(args, key, keys, scratch.k_t);
      const int64_t after = last + 1 - key - keys;
      Prefetch(args, args.k_pool, key + keys, after < kKeys ? after : kKeys);
      LoadValues(args, key, keys, scratch.v, padded);
      // Rows before the block see nothing of it.
      const int64_t first_row = key > args.first_position ? key - args.first_position : 0;
      for (int64_t t = first_row * args.group; t < queries; t += kRows) {
        const int rows = static_cast<int>(queries - t < kRows ? queries - t : kRows);
        Block(args, scratch, padded, key, t, rows);
      }
    }
    StoreQueries(args, scratch, padded);
  }

 private:
  static void LoadQueries(const AttentionArgs& args, const Scratch& scratch, int64_t padded) {
    const F scale = S::Set1(args.scale);
    for (int64_t t = 0; t < args.rows * args.group; ++t) {
      const float* from = args.q + t / args.group * args.q_stride + t % args.group * args.dim;
      ForLanes<S>(
          padded, [&](int64_t i, int64_t) __attribute__((always_inline)) {
            const int64_t left = args.dim - i;
            S::Store(scratch.q + t * padded + i, S::Mul(scale, S::LoadN(from + i, left < 0 ? 0 : left < L ? left : L)));
            S::Store(scratch.o + t * padded + i, S::Zero());
          });
      scratch.max[t] = -__builtin_inff();
      scratch.sum[t] = 0.0f;
    }
  }

  static void StoreQueries(const AttentionArgs& args, const Scratch& scratch, int64_t padded) {
    for (int64_t t = 0; t < args.rows * args.group; ++t) {
      float* to = args.out + t / args.group * args.out_stride + t % args.group * args.dim;
      const F sum = S::Set1(scratch.sum[t]);
      ForLanes<S>(
          args.dim, [&](int64_t i, int64_t lanes)
                        __attribute__((always_inline)) { StoreSome<S>(to + i, S::Div(S::Load(scratch.o + t * padded + i), sum), lanes); });
    }
  }

  static SWITCHYARD_INLINE F LoadPool(const AttentionArgs& args, const void* pool, int64_t offset, int64_t lanes) {
    if (args.bf16_pool) {
      const bf16* p = static_cast<const bf16*>(pool) + offset;
      return lanes == L ? S::LoadBf16(p) : S::LoadBf16N(p, lanes);
    }
    return LoadSome<S>(static_cast<const float*>(pool) + offset, lanes);
  }

  // Keys across the lanes: k_t[d][j]. Lanes of keys that are not there hold anything; their scores are never used.
  static void LoadKeys(const AttentionArgs& args, int64_t key, int64_t keys, float* k_t) {
    for (int64_t j = 0; j < keys; j += L) {
      const int64_t some = keys - j < L ? keys - j : L;
      for (int64_t d = 0; d < args.dim; d += L) {
        const int64_t lanes = args.dim - d < L ? args.dim - d : L;
        F row[L];
#pragma GCC unroll 16
        for (int i = 0; i < L; ++i)
          row[i] = i < some ? LoadPool(args, args.k_pool, args.slots[key + j + i] * args.slot_stride + d, lanes) : S::Zero();
        S::StoreTransposed(row, k_t + d * kKeys + j, kKeys);
      }
    }
  }

  // Slots may lie anywhere, so the hardware does not see them coming.
  static void Prefetch(const AttentionArgs& args, const void* pool, int64_t key, int64_t keys) {
    const int64_t element = args.bf16_pool ? 2 : 4;
    for (int64_t j = 0; j < keys; ++j) {
      const char* row = static_cast<const char*>(pool) + args.slots[key + j] * args.slot_stride * element;
      for (int64_t byte = 0; byte < args.dim * element; byte += 64) __builtin_prefetch(row + byte);
    }
  }

  static void LoadValues(const AttentionArgs& args, int64_t key, int64_t keys, float* v, int64_t padded) {
    for (int64_t j = 0; j < keys; ++j) {
      const int64_t offset = args.slots[key + j] * args.slot_stride;
      ForLanes<S>(
          padded, [&](int64_t d, int64_t) __attribute__((always_inline)) {
            const int64_t left = args.dim - d;
            S::Store(v + j * padded + d, LoadPool(args, args.v_pool, offset + d, left < 0 ? 0 : left < L ? left : L));
          });
    }
  }

  // How many keys of the block from `key` query t sees.
  static int64_t Visible(const AttentionArgs& args, int64_t key, int64_t t) {
    const int64_t visible = args.first_position + t / args.group + 1 - key;
    return visible < kKeys ? visible : kKeys;
  }

  static void Block(const AttentionArgs& args, const Scratch& scratch, int64_t padded, int64_t key, int64_t t, int rows) {
    Scores<kRows>(scratch.q + t * padded, padded, args.dim, scratch, rows);
    float decay[kRowLanes] = {};
    for (int r = 0; r < rows; ++r) decay[r] = RaiseMax(scratch.p + r * kKeys, Visible(args, key, t + r), scratch.max + t + r);
    for (int r = 0; r < rows; r += L) S::Store(decay + r, Exp<S>(S::Load(decay + r)));
    for (int r = 0; r < rows; ++r) {
      const float block_sum = Exponentiate(scratch.p + r * kKeys, scratch.max[t + r]);
      scratch.sum[t + r] = scratch.sum[t + r] * decay[r] + block_sum;
    }
    // Together as far as they see the same keys.
    for (int r = 0; r < rows;) {
      const int64_t visible = Visible(args, key, t + r);
      int next = r + 1;
      while (next < rows && Visible(args, key, t + next) == visible) ++next;
      Weigh<kRows>(scratch.p + r * kKeys, visible, scratch.v, padded, decay + r, scratch.o + (t + r) * padded, next - r);
      r = next;
    }
  }

  // p[r][j] = q[r] · key j, summed in the order of d.
  template <int R>
  static void Scores(const float* q, int64_t padded, int64_t dim, const Scratch& scratch, int rows) {
    if constexpr (R > 1) {
      if (rows < R) return Scores<R - 1>(q, padded, dim, scratch, rows);
    }
    constexpr int C = S::kPanels;
    static_assert(kKeys % (C * L) == 0);
    for (int j = 0; j < kKeys; j += C * L) {
      F acc[R][C];
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
        for (int c = 0; c < C; ++c) acc[r][c] = S::Zero();
      }
      const float* k = scratch.k_t + j;
      for (int64_t d = 0; d < dim; ++d, k += kKeys) {
        F b[C];
#pragma GCC unroll 16
        for (int c = 0; c < C; ++c) b[c] = S::Load(k + c * L);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          const F a = S::Set1(q[r * padded + d]);
#pragma GCC unroll 16
          for (int c = 0; c < C; ++c) acc[r][c] = S::Fma(a, b[c], acc[r][c]);
        }
      }
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
        for (int c = 0; c < C; ++c) S::Store(scratch.p + r * kKeys + j + c * L, acc[r][c]);
      }
    }
  }

  // Hides the scores past the visible ones and takes the others into the query's maximum. Returns the old maximum less the new one: the
  // logarithm of what the sums so far are to be multiplied by.
  static SWITCHYARD_INLINE float RaiseMax(float* p, int64_t visible, float* max) {
    for (int64_t j = visible; j < kKeys; ++j) p[j] = -__builtin_inff();
    F best = S::Load(p);
#pragma GCC unroll 8
    for (int j = L; j < kKeys; j += L) best = S::Max(best, S::Load(p + j));
    const float block_max = S::ReduceMax(best), old_max = *max;
    *max = block_max > old_max ? block_max : old_max;
    return old_max - *max;
  }

  // Scores into weights relative to the maximum; returns their sum.
  static SWITCHYARD_INLINE float Exponentiate(float* p, float max) {
    const F shift = S::Set1(max);
    F total = S::Zero();
#pragma GCC unroll 8
    for (int j = 0; j < kKeys; j += L) {
      const F e = Exp<S>(S::Sub(S::Load(p + j), shift));
      S::Store(p + j, e);
      total = S::Add(total, e);
    }
    return S::ReduceAdd(total);
  }

  // o[r] = o[r] * decay[r] + sum_j p[r][j] v[j], in the order of j.
  template <int R>
  static void Weigh(const float* p, int64_t keys, const float* v, int64_t padded, const float* decay, float* o, int rows) {
    if constexpr (R > 1) {
      if (rows < R) return Weigh<R - 1>(p, keys, v, padded, decay, o, rows);
    }
    int64_t d = 0;
    for (; d + S::kPanels * L <= padded; d += S::kPanels * L) WeighPart<R, S::kPanels>(p, keys, v + d, padded, decay, o + d);
    for (; d < padded; d += L) WeighPart<R, 1>(p, keys, v + d, padded, decay, o + d);
  }

  template <int R, int C>
  static void WeighPart(const float* p, int64_t keys, const float* v, int64_t padded, const float* decay, float* o) {
    F acc[R][C];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c) acc[r][c] = S::Mul(S::Set1(decay[r]), S::Load(o + r * padded + c * L));
    }
    for (int64_t j = 0; j < keys; ++j, v += padded) {
      F b[C];
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c) b[c] = S::Load(v + c * L);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const F a = S::Set1(p[r * kKeys + j]);
#pragma GCC unroll 16
        for (int c = 0; c < C; ++c) acc[r][c] = S::Fma(a, b[c], acc[r][c]);
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c) S::Store(o + r * padded + c * L, acc[r][c]);
    }
  }
};

}  // namespace switchyard::kernels
