// Seeded random numbers that are the same on every machine and compiler (the standard library's distributions are not).
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>

namespace switchyard {

// SplitMix64 (Steele, Lea, Flood 2014) with Box-Muller normals. Not thread-safe.
class SeededRandom {
 public:
  // `stream` separates tensors of one seed, so that adding a tensor does not change the others.
  SeededRandom(uint64_t seed, std::string_view stream) : state_(seed * 0x9E3779B97F4A7C15ull + 1) {
    for (const char c : stream) state_ = (state_ ^ static_cast<unsigned char>(c)) * 0x100000001B3ull;
  }
  uint64_t Next() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }
  double Uniform() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }  // [0, 1)
  double Normal() {
    const double u = 1.0 - Uniform(), v = Uniform();
    return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v);
  }

 private:
  uint64_t state_;
};

}  // namespace switchyard
