// Causal attention of training over one sequence and its backward pass, in blocks of rows that stay in cache: no [rows, rows] matrix of a
// long sequence is written. f32 throughout. Compiled for several instruction sets and chosen at run time. Single-threaded: callers split
// sequences and groups of heads over the pool.
#pragma once

#include <cstdint>
#include <vector>

namespace switchyard::trainer::loops {

// The query heads that share one head of keys and values. Rows of q, k, v and their gradients lie qkv_stride floats apart, rows of o and
// d_o o_stride; the group's query heads lie `dim` apart.
struct AttentionShape {
  int64_t rows, dim, group;
  int64_t qkv_stride, o_stride;
  float scale;
};

// Memory between calls of one thread; grows to O(rows * dim + 64 * rows) floats.
using AttentionScratch = std::vector<float>;

// o = softmax(scale q kᵀ) v. q and o point at the group's first head.
void AttentionForward(const AttentionShape& shape, const float* q, const float* k, const float* v, AttentionScratch* scratch, float* o);
// Writes dq, dk and dv. Weights are computed again; the output is not needed.
void AttentionBackward(const AttentionShape& shape, const float* q, const float* k, const float* v, const float* d_o,
                       AttentionScratch* scratch, float* dq, float* dk, float* dv);

}  // namespace switchyard::trainer::loops
