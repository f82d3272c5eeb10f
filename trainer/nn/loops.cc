// Compiled with -O3 and reassociation (see CMakeLists.txt), so that the compiler turns these loops into vectors, and once for each
// instruction set below; the loader picks. Sums are in a fixed order for a given machine, which is what a resumed run needs.
#include "trainer/nn/loops.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

// Function multiversioning needs ifunc resolvers, which run before the sanitizers are up.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__x86_64__) || defined(__clang__)
#define SWITCHYARD_CLONES
#else
#define SWITCHYARD_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif

namespace switchyard::trainer::loops {

namespace {

// e^x within about 2 units in the last place (Cephes' polynomial), without a call, so that loops around it become vectors. 0 below -87.
inline __attribute__((always_inline)) float Exp(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  const float n = std::rint(x * 1.44269504088896341f);
  float r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return p * std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
}

inline __attribute__((always_inline)) float Sigmoid(float x) { return 1.0f / (1.0f + Exp(-x)); }

inline __attribute__((always_inline)) float DotInline(const float* x, const float* y, int64_t n) {
  float sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i] * y[i];
  return sum;
}

inline __attribute__((always_inline)) void AxpyInline(float a, const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] += a * x[i];
}

}  // namespace

SWITCHYARD_CLONES
void RmsNormBackward(const float* x, const float* weight, const float* dy, int64_t width, float eps, float* dx) {
  float squares = 0, along = 0;
  for (int64_t i = 0; i < width; ++i) {
    squares += x[i] * x[i];
    along += dy[i] * weight[i] * x[i];
  }
  const float n = static_cast<float>(width), inverse = 1.0f / std::sqrt(squares / n + eps);
  const float pull = along / n * inverse * inverse;
  for (int64_t i = 0; i < width; ++i) dx[i] += inverse * (dy[i] * weight[i] - x[i] * pull);
}

SWITCHYARD_CLONES
void RmsNormWeightBackward(const float* x, const float* dy, int64_t width, float eps, float* dweight) {
  const float inverse = 1.0f / std::sqrt(DotInline(x, x, width) / static_cast<float>(width) + eps);
  for (int64_t i = 0; i < width; ++i) dweight[i] += dy[i] * x[i] * inverse;
}

SWITCHYARD_CLONES
void SwiGlu(const float* gate, const float* up, int64_t n, float* h) {
  for (int64_t i = 0; i < n; ++i) h[i] = gate[i] * Sigmoid(gate[i]) * up[i];
}

SWITCHYARD_CLONES
void SwiGluBackward(const float* gate, const float* up, const float* dh, float factor, int64_t n, bool accumulate, float* dgate,
                    float* dup) {
  if (accumulate) {
    for (int64_t i = 0; i < n; ++i) {
      const float s = Sigmoid(gate[i]), d = factor * dh[i];
      dgate[i] += d * up[i] * s * (1.0f + gate[i] * (1.0f - s));
      dup[i] += d * gate[i] * s;
    }
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    const float s = Sigmoid(gate[i]), d = factor * dh[i];
    const float to_gate = d * up[i] * s * (1.0f + gate[i] * (1.0f - s)), to_up = d * gate[i] * s;
    dgate[i] = to_gate;
    dup[i] = to_up;
  }
}

SWITCHYARD_CLONES
float SwiGluDot(const float* gate, const float* up, const float* v, int64_t n) {
  float sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += gate[i] * Sigmoid(gate[i]) * up[i] * v[i];
  return sum;
}

SWITCHYARD_CLONES
float Dot(const float* x, const float* y, int64_t n) { return DotInline(x, y, n); }

SWITCHYARD_CLONES
void Axpy(float a, const float* x, int64_t n, float* y) { AxpyInline(a, x, n, y); }

SWITCHYARD_CLONES
void Scale(float a, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] *= a;
}

SWITCHYARD_CLONES
void Rotate(float* head, const float* cos, const float* sin, int64_t dim, bool back) {
  const int64_t half = dim / 2;
  const float sign = back ? -1.0f : 1.0f;
  for (int64_t i = 0; i < half; ++i) {
    const float a = head[i], b = head[half + i], s = sign * sin[i];
    head[i] = a * cos[i] - b * s;
    head[half + i] = b * cos[i] + a * s;
  }
}

SWITCHYARD_CLONES
void AttentionForward(const HeadShape& shape, const float* q, const float* k, const float* v, float* p, float* o) {
  for (int64_t i = 0; i < shape.rows; ++i) {
    const float* q_i = q + i * shape.qkv_stride;
    float most = -std::numeric_limits<float>::max(), sum = 0;
    for (int64_t j = 0; j <= i; ++j) {
      p[j] = shape.scale * DotInline(q_i, k + j * shape.qkv_stride, shape.dim);
      most = p[j] > most ? p[j] : most;
    }
    for (int64_t j = 0; j <= i; ++j) {
      p[j] = Exp(p[j] - most);
      sum += p[j];
    }
    float* o_i = o + i * shape.o_stride;
    for (int64_t d = 0; d < shape.dim; ++d) o_i[d] = 0;
    for (int64_t j = 0; j <= i; ++j) AxpyInline(p[j] / sum, v + j * shape.qkv_stride, shape.dim, o_i);
  }
}

// dP_ij = dO_i . v_j;  dS_ij = P_ij (dP_ij - dO_i . O_i): FlashAttention (Dao et al. 2022), algorithm 4.
SWITCHYARD_CLONES
void AttentionBackward(const HeadShape& shape, const float* q, const float* k, const float* v, const float* o, const float* d_o, float* p,
                       float* dq, float* dk, float* dv) {
  for (int64_t i = 0; i < shape.rows; ++i) {
    const float* q_i = q + i * shape.qkv_stride;
    const float* do_i = d_o + i * shape.o_stride;
    float most = -std::numeric_limits<float>::max(), sum = 0;
    for (int64_t j = 0; j <= i; ++j) {
      p[j] = shape.scale * DotInline(q_i, k + j * shape.qkv_stride, shape.dim);
      most = p[j] > most ? p[j] : most;
    }
    for (int64_t j = 0; j <= i; ++j) {
      p[j] = Exp(p[j] - most);
      sum += p[j];
    }
    const float along = DotInline(do_i, o + i * shape.o_stride, shape.dim), inverse = 1.0f / sum;
    float* dq_i = dq + i * shape.qkv_stride;
    for (int64_t d = 0; d < shape.dim; ++d) dq_i[d] = 0;
    for (int64_t j = 0; j <= i; ++j) {
      const float p_ij = p[j] * inverse;
      const float ds = shape.scale * p_ij * (DotInline(do_i, v + j * shape.qkv_stride, shape.dim) - along);
      AxpyInline(p_ij, do_i, shape.dim, dv + j * shape.qkv_stride);
      AxpyInline(ds, k + j * shape.qkv_stride, shape.dim, dq_i);
      AxpyInline(ds, q_i, shape.dim, dk + j * shape.qkv_stride);
    }
  }
}

SWITCHYARD_CLONES
float CrossEntropyRow(float* logits, int64_t n, int64_t target, float scale, bool* correct) {
  float most = logits[0];
  for (int64_t i = 0; i < n; ++i) most = logits[i] > most ? logits[i] : most;
  int64_t best = 0;
  while (best + 1 < n && logits[best] < most) ++best;
  *correct = best == target;
  const float wanted = logits[target] - most;
  float sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    logits[i] = Exp(logits[i] - most);
    sum += logits[i];
  }
  const float factor = scale / sum;
  for (int64_t i = 0; i < n; ++i) logits[i] *= factor;
  logits[target] -= scale;
  return std::log(sum) - wanted;
}

}  // namespace switchyard::trainer::loops
