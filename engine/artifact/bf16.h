// Rounding to bfloat16.
#pragma once

#include <cstdint>
#include <cstring>

namespace switchyard {

// To the nearest, ties to even. REQUIRES: value is not NaN.
inline uint16_t RoundToBf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

}  // namespace switchyard
