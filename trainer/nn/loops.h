// The inner loops of training that the serving kernels do not have: backward passes of the norm and the gate. Plain loops over f32 rows,
// compiled for several instruction sets and chosen at run time. Single-threaded: callers split rows or heads over the pool.
#pragma once

#include <cstdint>

namespace switchyard::trainer::loops {

// y = x / sqrt(mean(x^2) + eps) * weight; dx += the gradient for x. One row of `width`.
void RmsNormBackward(const float* x, const float* weight, const float* dy, int64_t width, float eps, float* dx);
// dweight += dy * x / sqrt(mean(x^2) + eps); one row.
void RmsNormWeightBackward(const float* x, const float* dy, int64_t width, float eps, float* dweight);

// h = silu(gate) * up
void SwiGlu(const float* gate, const float* up, int64_t n, float* h);
// With h = silu(gate) * up: dgate (+)= factor * dh * up * silu'(gate), dup (+)= factor * dh * silu(gate).
void SwiGluBackward(const float* gate, const float* up, const float* dh, float factor, int64_t n, bool accumulate, float* dgate,
                    float* dup);
// <silu(gate) * up, v>
float SwiGluDot(const float* gate, const float* up, const float* v, int64_t n);

float Dot(const float* x, const float* y, int64_t n);
void Axpy(float a, const float* x, int64_t n, float* y);  // y += a x
void Scale(float a, int64_t n, float* y);                 // y *= a

// Turns both halves of a head by the angle whose cosines and sines are given (Hugging Face's layout), or back.
void Rotate(float* head, const float* cos, const float* sin, int64_t dim, bool back);

// hidden [n], in place = drop(relu(hidden + bias)), what stays times 1 / (1 - dropout). Element i is dropped or not by (seed, first + i).
void BiasReluDrop(const float* bias, int64_t n, double dropout, uint64_t seed, int64_t first, float* hidden);
// The way back through that and logits [experts] = w [experts, n] hidden: d [n] = scale wᵀ dlogits where hidden > 0, else 0.
void MlpHiddenBackward(const float* dlogits, const float* w, const float* hidden, int64_t experts, int64_t n, float scale, float* d);

// sum [m, .] += aᵀ b over `rows`, columns [begin, end) of b and sum; a [rows, m]. Rows of a and b lie `stride` floats apart, of sum
// sum_stride.
struct Rows {
  const float* data;
  int64_t stride;
};
void AddTransposedProduct(const Rows& a, const Rows& b, int64_t rows, int64_t m, int64_t begin, int64_t end, float* sum,
                          int64_t sum_stride);

// Softmax cross entropy of one row of logits [n], in place: logits becomes (softmax - onehot(target)) * scale. Returns -log p(target);
// *correct says whether target is the (lowest) argmax.
float CrossEntropyRow(float* logits, int64_t n, int64_t target, float scale, bool* correct);

}  // namespace switchyard::trainer::loops
