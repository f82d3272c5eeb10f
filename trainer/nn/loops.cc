// Compiled with -O3 and reassociation (see CMakeLists.txt), so that the compiler turns these loops into vectors, and once for each
// instruction set below; the loader picks. Sums are in a fixed order for a given machine, which is what a resumed run needs.
#include "trainer/nn/loops.h"

#include <cmath>

#include "trainer/nn/vector_loops.h"

namespace switchyard::trainer::loops {

namespace {

SWITCHYARD_IN_CLONES float Sigmoid(float x) { return 1.0f / (1.0f + Exp(-x)); }

SWITCHYARD_IN_CLONES float DotInline(const float* x, const float* y, int64_t n) {
  float sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i] * y[i];
  return sum;
}

SWITCHYARD_IN_CLONES void AxpyInline(float a, const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] += a * x[i];
}

// "lowbias32" of Wellons' hash prospector: every bit of x moves every bit of the result.
SWITCHYARD_IN_CLONES uint32_t Hash(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
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
void BiasReluDrop(const float* bias, int64_t n, double dropout, uint64_t seed, int64_t first, float* hidden) {
  if (dropout <= 0) {
    for (int64_t i = 0; i < n; ++i) {
      const float v = hidden[i] + bias[i];
      hidden[i] = v > 0 ? v : 0.0f;
    }
    return;
  }
  const auto limit = static_cast<uint32_t>(dropout * 4294967296.0), low = static_cast<uint32_t>(seed) + static_cast<uint32_t>(first),
             high = static_cast<uint32_t>(seed >> 32);
  const auto scale = static_cast<float>(1.0 / (1.0 - dropout));
  for (int64_t i = 0; i < n; ++i) {
    const float v = hidden[i] + bias[i], kept = v > 0 ? v * scale : 0.0f;
    hidden[i] = Hash(Hash(low + static_cast<uint32_t>(i)) ^ high) < limit ? 0.0f : kept;
  }
}

SWITCHYARD_CLONES
void MlpHiddenBackward(const float* dlogits, const float* w, const float* hidden, int64_t experts, int64_t n, float scale, float* d) {
  for (int64_t i = 0; i < n; ++i) d[i] = 0;
  for (int64_t e = 0; e < experts; ++e) AxpyInline(scale * dlogits[e], w + e * n, n, d);
  for (int64_t i = 0; i < n; ++i) d[i] = hidden[i] > 0 ? d[i] : 0.0f;
}

SWITCHYARD_CLONES
void AddTransposedProduct(const Rows& a, const Rows& b, int64_t rows, int64_t m, int64_t begin, int64_t end, float* sum,
                          int64_t sum_stride) {
  int64_t at = begin;
  for (; at + 4 * kLanes <= end; at += 4 * kLanes) {
    int64_t i = 0;
    for (; i + 4 <= m; i += 4)
      Micro<4, 4>({a.data + i, 1, a.stride}, b.data + at, b.stride, rows, sum + i * sum_stride + at, sum_stride, /*add=*/true);
    for (; i < m; ++i) Micro<1, 4>({a.data + i, 1, a.stride}, b.data + at, b.stride, rows, sum + i * sum_stride + at, sum_stride, true);
  }
  for (; at + kLanes <= end; at += kLanes) {
    for (int64_t i = 0; i < m; ++i)
      Micro<1, 1>({a.data + i, 1, a.stride}, b.data + at, b.stride, rows, sum + i * sum_stride + at, sum_stride, true);
  }
  for (int64_t row = 0; row < rows && at < end; ++row) {
    for (int64_t i = 0; i < m; ++i)
      AxpyInline(a.data[row * a.stride + i], b.data + row * b.stride + at, end - at, sum + i * sum_stride + at);
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
