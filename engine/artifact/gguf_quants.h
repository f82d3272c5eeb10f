// The tensor types of GGUF that are read, and their values as floats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace switchyard {

// Numbers as ggml writes them.
enum class GgufType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kBF16 = 30,
};

// Values are stored in blocks: `elements` values in `bytes` bytes. Plain types have blocks of one value.
struct GgufBlock {
  std::string_view name;
  int64_t elements = 1;
  int64_t bytes = 0;
};

// nullopt for a type that is not read.
std::optional<GgufBlock> BlockOf(GgufType type);
// ggml's name for any type number, known or not: "Q2_K", "type 77".
std::string GgufTypeName(uint32_t type);

// REQUIRES: `data` is whole blocks of `type`, and `out` has room for exactly their values. Any bytes are fine; the scales in them may make
// the values infinite or NaN.
void Dequantize(GgufType type, std::span<const std::byte> data, std::span<float> out);

float HalfToFloat(uint16_t half);
uint16_t FloatToBFloat16(float value);  // nearest, ties to even; NaN stays NaN

}  // namespace switchyard
