// Products of blocks in registers around softmax. dP = dO Vᵀ; dS = P (dP - rowsum(P dP)): FlashAttention (Dao et al. 2022), algorithm 4,
// with the row sums of dO O as those of P dP, so that O need not be kept.
#include "trainer/nn/attention_loops.h"

#include <algorithm>
#include <cstring>

#include "trainer/nn/vector_loops.h"

namespace switchyard::trainer::loops {

namespace {

constexpr int64_t kBlock = 64;  // query rows whose weights are in memory at a time
constexpr int64_t kRows = 4;    // rows of a product in registers
// Widths are padded to kLanes by zeros.

SWITCHYARD_IN_CLONES int64_t Padded(int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

// A factor or a result of which whole rows are; rows lie `stride` apart, padded to kLanes.
struct Lines {
  float* data;
  int64_t stride;
  float* at(int64_t row) const { return data + row * stride; }
};

// c [kRows, width] (+)= a [kRows, count] b [count, width]; width is padded.
SWITCHYARD_IN_CLONES void Multiply(const Scalars& a, const Lines& b, int64_t count, int64_t width, const Lines& c, bool add) {
  int64_t at = 0;
  for (; at + 4 * kLanes <= width; at += 4 * kLanes) Micro<kRows, 4>(a, b.data + at, b.stride, count, c.data + at, c.stride, add);
  for (; at < width; at += kLanes) Micro<kRows, 1>(a, b.data + at, b.stride, count, c.data + at, c.stride, add);
}

SWITCHYARD_IN_CLONES void Copy(const float* from, int64_t stride, int64_t rows, int64_t dim, const Lines& to) {
  for (int64_t i = 0; i < rows; ++i) std::memcpy(to.at(i), from + i * stride, static_cast<size_t>(dim) * sizeof(float));
}

SWITCHYARD_IN_CLONES void Transpose(const float* from, int64_t stride, int64_t rows, int64_t dim, const Lines& to) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t d = 0; d < dim; ++d) to.data[d * to.stride + i] = from[i * stride + d];
  }
}

// Pieces of the scratch memory, zero at first.
class Pieces {
 public:
  Pieces(AttentionScratch* scratch, int64_t floats) {
    if (scratch->size() < static_cast<size_t>(floats)) scratch->resize(static_cast<size_t>(floats));
    next_ = scratch->data();
    std::memset(next_, 0, static_cast<size_t>(floats) * sizeof(float));
  }
  Lines Take(int64_t rows, int64_t stride) {
    const Lines lines{next_, stride};
    next_ += rows * stride;
    return lines;
  }

 private:
  float* next_;
};

// p[i], of `rows` query rows from row `first` on, = softmax(scale s[i]) over the keys up to its own, and zero beyond.
SWITCHYARD_IN_CLONES void Softmax(const Lines& p, int64_t first, int64_t rows, float scale, int64_t keys) {
  for (int64_t i = 0; i < rows; ++i) {
    float* row = p.at(i);
    const int64_t visible = first + i + 1;
    float most = row[0], sum = 0;
    for (int64_t j = 0; j < visible; ++j) most = row[j] > most ? row[j] : most;
    for (int64_t j = 0; j < visible; ++j) {
      row[j] = Exp(scale * (row[j] - most));
      sum += row[j];
    }
    const float inverse = 1.0f / sum;
    for (int64_t j = 0; j < visible; ++j) row[j] *= inverse;
    for (int64_t j = visible; j < keys; ++j) row[j] = 0;
  }
}

// ds = scale p (dp - sum p dp), in place of dp.
SWITCHYARD_IN_CLONES void SoftmaxBackward(const Lines& p, const Lines& dp, int64_t rows, float scale, int64_t keys) {
  for (int64_t i = 0; i < rows; ++i) {
    const float* weight = p.at(i);
    float* d = dp.at(i);
    float along = 0;
    for (int64_t j = 0; j < keys; ++j) along += weight[j] * d[j];
    for (int64_t j = 0; j < keys; ++j) d[j] = scale * weight[j] * (d[j] - along);
  }
}

// The weights of a block of query rows over the keys they see, of which there are `keys`, padded; rows past the last are zero's.
SWITCHYARD_IN_CLONES void Weigh(const Lines& q, const Lines& k_t, int64_t dim, int64_t first, int64_t rows, int64_t keys, float scale,
                                const Lines& p) {
  for (int64_t i = 0; i < rows; i += kRows)
    Multiply({q.at(first + i), q.stride, 1}, k_t, dim, std::min(keys, Padded(first + i + kRows)), {p.at(i), p.stride}, /*add=*/false);
  Softmax(p, first, rows, scale, keys);
}

}  // namespace

SWITCHYARD_CLONES
void AttentionForward(const AttentionShape& shape, const float* q, const float* k, const float* v, AttentionScratch* scratch, float* o) {
  const int64_t rows = shape.rows, dim = shape.dim, wide = Padded(dim), all_keys = Padded(rows + kRows);
  Pieces pieces(scratch, 3 * all_keys * wide + wide * all_keys + kBlock * all_keys);
  const Lines own_q = pieces.Take(all_keys, wide), own_v = pieces.Take(all_keys, wide), own_o = pieces.Take(all_keys, wide),
              k_t = pieces.Take(wide, all_keys), p = pieces.Take(kBlock, all_keys);
  Copy(v, shape.qkv_stride, rows, dim, own_v);
  Transpose(k, shape.qkv_stride, rows, dim, k_t);
  for (int64_t head = 0; head < shape.group; ++head) {
    Copy(q + head * dim, shape.qkv_stride, rows, dim, own_q);
    for (int64_t first = 0; first < rows; first += kBlock) {
      const int64_t count = std::min(kBlock, rows - first), keys = std::min(all_keys, Padded(first + count));
      Weigh(own_q, k_t, dim, first, count, keys, shape.scale, p);
      for (int64_t i = 0; i < count; i += kRows)
        Multiply({p.at(i), p.stride, 1}, own_v, std::min(first + i + kRows, rows), wide, {own_o.at(first + i), wide}, /*add=*/false);
    }
    for (int64_t i = 0; i < rows; ++i)
      std::memcpy(o + i * shape.o_stride + head * dim, own_o.at(i), static_cast<size_t>(dim) * sizeof(float));
  }
}

SWITCHYARD_CLONES
void AttentionBackward(const AttentionShape& shape, const float* q, const float* k, const float* v, const float* d_o,
                       AttentionScratch* scratch, float* dq, float* dk, float* dv) {
  const int64_t rows = shape.rows, dim = shape.dim, wide = Padded(dim), all_keys = Padded(rows + kRows);
  Pieces pieces(scratch, 6 * all_keys * wide + 2 * wide * all_keys + 2 * kBlock * all_keys);
  const Lines own_q = pieces.Take(all_keys, wide), own_do = pieces.Take(all_keys, wide), own_k = pieces.Take(all_keys, wide),
              own_dq = pieces.Take(all_keys, wide), own_dk = pieces.Take(all_keys, wide), own_dv = pieces.Take(all_keys, wide),
              k_t = pieces.Take(wide, all_keys), v_t = pieces.Take(wide, all_keys), p = pieces.Take(kBlock, all_keys),
              ds = pieces.Take(kBlock, all_keys);
  Copy(k, shape.qkv_stride, rows, dim, own_k);
  Transpose(k, shape.qkv_stride, rows, dim, k_t);
  Transpose(v, shape.qkv_stride, rows, dim, v_t);
  for (int64_t head = 0; head < shape.group; ++head) {
    Copy(q + head * dim, shape.qkv_stride, rows, dim, own_q);
    Copy(d_o + head * dim, shape.o_stride, rows, dim, own_do);
    for (int64_t first = 0; first < rows; first += kBlock) {
      const int64_t count = std::min(kBlock, rows - first), keys = std::min(all_keys, Padded(first + count));
      Weigh(own_q, k_t, dim, first, count, keys, shape.scale, p);
      // Columns past a block of kRows' own are not written: their weights are zero, so whatever finite value is there does not count.
      for (int64_t i = 0; i < count; i += kRows) {
        Multiply({own_do.at(first + i), wide, 1}, v_t, dim, std::min(keys, Padded(first + i + kRows)), {ds.at(i), ds.stride}, false);
      }
      SoftmaxBackward(p, ds, count, shape.scale, keys);
      for (int64_t i = 0; i < count; i += kRows)
        Multiply({ds.at(i), ds.stride, 1}, own_k, std::min(first + i + kRows, rows), wide, {own_dq.at(first + i), wide}, false);
      // Key j is seen by the block's rows from j on.
      for (int64_t j = 0; j < first + count; j += kRows) {
        const int64_t from = std::max<int64_t>(j - first, 0), seen = count - from;
        Multiply({p.at(from) + j, 1, p.stride}, {own_do.at(first + from), wide}, seen, wide, {own_dv.at(j), wide}, /*add=*/true);
        Multiply({ds.at(from) + j, 1, ds.stride}, {own_q.at(first + from), wide}, seen, wide, {own_dk.at(j), wide}, /*add=*/true);
      }
    }
    for (int64_t i = 0; i < rows; ++i)
      std::memcpy(dq + i * shape.qkv_stride + head * dim, own_dq.at(i), static_cast<size_t>(dim) * sizeof(float));
  }
  for (int64_t i = 0; i < rows; ++i) {
    std::memcpy(dk + i * shape.qkv_stride, own_dk.at(i), static_cast<size_t>(dim) * sizeof(float));
    std::memcpy(dv + i * shape.qkv_stride, own_dv.at(i), static_cast<size_t>(dim) * sizeof(float));
  }
}

}  // namespace switchyard::trainer::loops
