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

// Softmax cross entropy of one row of logits [n], in place: logits becomes (softmax - onehot(target)) * scale. Returns -log p(target);
// *correct says whether target is the (lowest) argmax.
float CrossEntropyRow(float* logits, int64_t n, int64_t target, float scale, bool* correct);

}  // namespace switchyard::trainer::loops
