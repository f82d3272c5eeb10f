// Attention of a few query rows over paged keys and values, a template over a SIMD type. Included by table_*.cc only.
//
// Keys are taken in blocks of kKeys positions counted from position 0, with an online softmax whose state (largest score, sum, weighted values)
// belongs to one query. A query meets the same blocks and the same order of sums whether it comes alone or among others.
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

  static int64_t Padded(int64_t dim) { return (dim + 15) / 16 * 16; }

  struct Scratch {
    float *k_t, *v, *p, *q, *o, *max, *sum;   // [dim][kKeys], [kKeys][padded], [kRows][kKeys], [queries][padded] twice, [queries] twice
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
      LoadKeys(args, key, keys, scratch.k_t);
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
      ForLanes<S>(padded, [&](int64_t i, int64_t) __attribute__((always_inline)) {
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
      ForLanes<S>(args.dim, [&](int64_t i, int64_t lanes) __attribute__((always_inline)) {
        StoreSome<S>(to + i, S::Div(S::Load(scratch.o + t * padded + i), sum), lanes);
      });
    }
  }

  static SWITCHYARD_INLINE F LoadPool(const AttentionArgs& args, const void* pool, int64_t offset, int64_t lanes) {
    if (args.bf16_pool) {
      const bf16* p = static_cast<const bf16*>(pool) + offset;
      return lanes == L ? S::LoadBf16(p) : S::LoadBf16N(p, lanes);
    }
    return LoadSome<S>(static_cast<const float*>(pool) + offset, lanes);
  }

  // Keys across the lanes: k_t[d][j]. Lanes past `keys` are zero; their scores are never used.
  static void LoadKeys(const AttentionArgs& args, int64_t key, int64_t keys, float* k_t) {
    for (int64_t j = 0; j < keys; ++j) {
      const int64_t offset = args.slots[key + j] * args.slot_stride;
      ForLanes<S>(args.dim, [&](int64_t d, int64_t lanes) __attribute__((always_inline)) {
        float part[L];
        S::Store(part, LoadPool(args, args.k_pool, offset + d, lanes));
        for (int64_t i = 0; i < lanes; ++i) k_t[(d + i) * kKeys + j] = part[i];
      });
    }
    for (int64_t d = 0; d < args.dim; ++d) {
      for (int64_t j = keys; j < kKeys; ++j) k_t[d * kKeys + j] = 0.0f;
    }
  }

  static void LoadValues(const AttentionArgs& args, int64_t key, int64_t keys, float* v, int64_t padded) {
    for (int64_t j = 0; j < keys; ++j) {
      const int64_t offset = args.slots[key + j] * args.slot_stride;
      ForLanes<S>(padded, [&](int64_t d, int64_t) __attribute__((always_inline)) {
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
    const float* q = scratch.q + t * padded;
    switch (rows) {
      case 1: Scores<1>(q, padded, args.dim, scratch); break;
      case 2: Scores<2>(q, padded, args.dim, scratch); break;
      case 3: Scores<3>(q, padded, args.dim, scratch); break;
      case 4: Scores<4>(q, padded, args.dim, scratch); break;
      case 5: Scores<5>(q, padded, args.dim, scratch); break;
      default: Scores<6>(q, padded, args.dim, scratch); break;
    }
    float decay[6];
    for (int r = 0; r < rows; ++r) decay[r] = Softmax(scratch.p + r * kKeys, Visible(args, key, t + r), scratch.max + t + r, scratch.sum + t + r);
    float* o = scratch.o + t * padded;
    if (rows == kRows && Visible(args, key, t) == kKeys) {
      Weigh<kRows>(scratch.p, kKeys, scratch.v, padded, decay, o);
      return;
    }
    for (int r = 0; r < rows; ++r) {
      Weigh<1>(scratch.p + r * kKeys, Visible(args, key, t + r), scratch.v, padded, decay + r, o + r * padded);
    }
  }

  // p[r][j] = q[r] · key j, summed in the order of d.
  template <int R>
  static void Scores(const float* q, int64_t padded, int64_t dim, const Scratch& scratch) {
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

  // Turns the visible scores into weights relative to the query's new maximum; returns what the earlier sums are to be multiplied by.
  static float Softmax(float* p, int64_t visible, float* max, float* sum) {
    for (int64_t j = visible; j < kKeys; ++j) p[j] = -__builtin_inff();
    F best = S::Load(p);
    for (int j = L; j < kKeys; j += L) best = S::Max(best, S::Load(p + j));
    const float block_max = S::ReduceMax(best);
    const float new_max = block_max > *max ? block_max : *max;
    float decay[L];
    S::Store(decay, Exp<S>(S::Set1(*max - new_max)));
    F total = S::Zero();
    for (int j = 0; j < kKeys; j += L) {
      const F e = Exp<S>(S::Sub(S::Load(p + j), S::Set1(new_max)));
      S::Store(p + j, e);
      total = S::Add(total, e);
    }
    *max = new_max;
    *sum = *sum * decay[0] + S::ReduceAdd(total);
    return decay[0];
  }

  // o[r] = o[r] * decay[r] + sum_j p[r][j] v[j], in the order of j.
  template <int R>
  static void Weigh(const float* p, int64_t keys, const float* v, int64_t padded, const float* decay, float* o) {
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
