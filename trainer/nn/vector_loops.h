// What the files of vectorised loops share. Included by such files only, which are compiled with reassociation (see CMakeLists.txt).
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

// Function multiversioning needs ifunc resolvers, which run before the sanitizers are up.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__x86_64__) || defined(__clang__)
#define SWITCHYARD_CLONES
#else
#define SWITCHYARD_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif
// Into every clone of its callers, with the clone's instruction set.
#define SWITCHYARD_IN_CLONES inline __attribute__((always_inline))

namespace switchyard::trainer::loops {

// e^x within about 2 units in the last place (Cephes' polynomial), without a call, so that loops around it become vectors. Below -87 it is
// e^-87.
SWITCHYARD_IN_CLONES float Exp(float x) {
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

// A vector that the compiler cuts to what the instruction set has.
constexpr int64_t kLanes = 16;
using Lanes = float __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));

// A factor of which single elements are read: element (i, j) at data[i * row + j * column].
struct Scalars {
  const float* data;
  int64_t row, column;
};

// c[r, 0 .. C lanes) (+)= sum over j < count of a(r, j) b[j].
template <int R, int C>
SWITCHYARD_IN_CLONES void Micro(const Scalars& a, const float* b, int64_t b_stride, int64_t count, float* c, int64_t c_stride, bool add) {
  Lanes sum[R][C];
  for (int r = 0; r < R; ++r) {
    for (int l = 0; l < C; ++l) sum[r][l] = add ? *reinterpret_cast<const Lanes*>(c + r * c_stride + l * kLanes) : Lanes{};
  }
  for (int64_t j = 0; j < count; ++j) {
    Lanes line[C];
    for (int l = 0; l < C; ++l) line[l] = *reinterpret_cast<const Lanes*>(b + j * b_stride + l * kLanes);
    for (int r = 0; r < R; ++r) {
      const float factor = a.data[r * a.row + j * a.column];
      for (int l = 0; l < C; ++l) sum[r][l] += factor * line[l];
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int l = 0; l < C; ++l) *reinterpret_cast<Lanes*>(c + r * c_stride + l * kLanes) = sum[r][l];
  }
}

}  // namespace switchyard::trainer::loops
