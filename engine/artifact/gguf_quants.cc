#include "engine/artifact/gguf_quants.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "absl/strings/str_format.h"

namespace switchyard {
namespace {

uint8_t Byte(const std::byte* p) { return std::to_integer<uint8_t>(*p); }
int8_t SignedByte(const std::byte* p) { return static_cast<int8_t>(Byte(p)); }

template <typename T>
T Load(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

float Half(const std::byte* p) { return HalfToFloat(Load<uint16_t>(p)); }

// 32 values: the low nibbles of 16 bytes, then the high ones. `high` holds a fifth bit each (0 for the 4-bit types).
void Nibbles(const std::byte* quants, uint32_t high, int offset, float scale, float minimum, float* out) {
  for (int j = 0; j < 16; ++j) {
    const int low = (Byte(quants + j) & 0x0f) | static_cast<int>((high >> j & 1) << 4);
    const int top = (Byte(quants + j) >> 4) | static_cast<int>((high >> (j + 16) & 1) << 4);
    out[j] = static_cast<float>(low - offset) * scale + minimum;
    out[j + 16] = static_cast<float>(top - offset) * scale + minimum;
  }
}

void BlockQ8_0(const std::byte* p, float* out) {
  const float scale = Half(p);
  for (int j = 0; j < 32; ++j) out[j] = static_cast<float>(SignedByte(p + 2 + j)) * scale;
}

// The eight 6-bit scales and minima of a K block of 256, packed into 12 bytes.
struct ScaleAndMin {
  int scale;
  int minimum;
};
ScaleAndMin UnpackScale(const std::byte* packed, int j) {
  if (j < 4) return {Byte(packed + j) & 63, Byte(packed + j + 4) & 63};
  return {(Byte(packed + j + 4) & 0x0f) | ((Byte(packed + j - 4) >> 6) << 4), (Byte(packed + j + 4) >> 4) | ((Byte(packed + j) >> 6) << 4)};
}

// Q4_K and Q5_K: eight groups of 32; two neighbouring groups share 32 bytes, one in the low and one in the high nibbles. `high_bits` (Q5_K)
// has one byte per position in the group and one bit per group.
void BlockQ45_K(const std::byte* p, const std::byte* high_bits, const std::byte* quants, float* out) {
  const float d = Half(p);
  const float d_min = Half(p + 2);
  for (int group = 0; group < 8; ++group) {
    const ScaleAndMin packed = UnpackScale(p + 4, group);
    const float scale = d * static_cast<float>(packed.scale);
    const float minimum = d_min * static_cast<float>(packed.minimum);
    const std::byte* bytes = quants + (group / 2) * 32;
    for (int j = 0; j < 32; ++j) {
      int value = group % 2 == 0 ? Byte(bytes + j) & 0x0f : Byte(bytes + j) >> 4;
      if (high_bits != nullptr) value |= (Byte(high_bits + j) >> group & 1) << 4;
      out[group * 32 + j] = scale * static_cast<float>(value) - minimum;
    }
  }
}

// Two halves of 128 values; in each, 64 bytes of low nibbles, 32 bytes of two high bits for four values, and eight scales for 16 values
// each.
void BlockQ6_K(const std::byte* p, float* out) {
  const float d = Half(p + 208);
  for (int half = 0; half < 2; ++half) {
    const std::byte* low = p + half * 64;
    const std::byte* high = p + 128 + half * 32;
    const std::byte* scales = p + 192 + half * 8;
    for (int part = 0; part < 4; ++part) {
      for (int j = 0; j < 32; ++j) {
        const uint8_t nibbles = Byte(low + (part % 2) * 32 + j);
        const int value = ((part < 2 ? nibbles & 0x0f : nibbles >> 4) | ((Byte(high + j) >> (2 * part) & 3) << 4)) - 32;
        out[half * 128 + part * 32 + j] = d * static_cast<float>(SignedByte(scales + part * 2 + j / 16)) * static_cast<float>(value);
      }
    }
  }
}

void OneBlock(GgufType type, const std::byte* p, float* out) {
  switch (type) {
    case GgufType::kF32:
      *out = Load<float>(p);
      return;
    case GgufType::kF16:
      *out = Half(p);
      return;
    case GgufType::kBF16:
      *out = std::bit_cast<float>(static_cast<uint32_t>(Load<uint16_t>(p)) << 16);
      return;
    case GgufType::kQ4_0:
      Nibbles(p + 2, 0, 8, Half(p), 0.0f, out);
      return;
    case GgufType::kQ4_1:
      Nibbles(p + 4, 0, 0, Half(p), Half(p + 2), out);
      return;
    case GgufType::kQ5_0:
      Nibbles(p + 6, Load<uint32_t>(p + 2), 16, Half(p), 0.0f, out);
      return;
    case GgufType::kQ5_1:
      Nibbles(p + 8, Load<uint32_t>(p + 4), 0, Half(p), Half(p + 2), out);
      return;
    case GgufType::kQ8_0:
      BlockQ8_0(p, out);
      return;
    case GgufType::kQ4_K:
      BlockQ45_K(p, nullptr, p + 16, out);
      return;
    case GgufType::kQ5_K:
      BlockQ45_K(p, p + 16, p + 48, out);
      return;
    case GgufType::kQ6_K:
      BlockQ6_K(p, out);
      return;
  }
}

}  // namespace

std::optional<GgufBlock> BlockOf(GgufType type) {
  switch (type) {
    case GgufType::kF32:
      return GgufBlock{"F32", 1, 4};
    case GgufType::kF16:
      return GgufBlock{"F16", 1, 2};
    case GgufType::kBF16:
      return GgufBlock{"BF16", 1, 2};
    case GgufType::kQ4_0:
      return GgufBlock{"Q4_0", 32, 18};
    case GgufType::kQ4_1:
      return GgufBlock{"Q4_1", 32, 20};
    case GgufType::kQ5_0:
      return GgufBlock{"Q5_0", 32, 22};
    case GgufType::kQ5_1:
      return GgufBlock{"Q5_1", 32, 24};
    case GgufType::kQ8_0:
      return GgufBlock{"Q8_0", 32, 34};
    case GgufType::kQ4_K:
      return GgufBlock{"Q4_K", 256, 144};
    case GgufType::kQ5_K:
      return GgufBlock{"Q5_K", 256, 176};
    case GgufType::kQ6_K:
      return GgufBlock{"Q6_K", 256, 210};
  }
  return std::nullopt;
}

std::string GgufTypeName(uint32_t type) {
  if (auto block = BlockOf(static_cast<GgufType>(type))) return std::string(block->name);
  switch (type) {
    case 9:
      return "Q8_1";
    case 10:
      return "Q2_K";
    case 11:
      return "Q3_K";
    case 15:
      return "Q8_K";
    case 20:
      return "IQ4_NL";
    case 23:
      return "IQ4_XS";
    case 24:
      return "I8";
    case 25:
      return "I16";
    case 26:
      return "I32";
    case 27:
      return "I64";
    case 28:
      return "F64";
    case 34:
      return "TQ1_0";
    case 35:
      return "TQ2_0";
    case 39:
      return "MXFP4";
    default:
      return absl::StrFormat("type %d", type);
  }
}

void Dequantize(GgufType type, std::span<const std::byte> data, std::span<float> out) {
  const auto block = BlockOf(type);
  if (!block) return;
  const size_t blocks = data.size() / static_cast<size_t>(block->bytes);
  for (size_t i = 0; i < blocks; ++i) {
    OneBlock(type, data.data() + i * static_cast<size_t>(block->bytes), out.data() + i * static_cast<size_t>(block->elements));
  }
}

float HalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = half >> 10 & 0x1f;
  const uint32_t mantissa = half & 0x3ff;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000 | mantissa << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
  const float subnormal = std::ldexp(static_cast<float>(mantissa), -24);
  return sign != 0 ? -subnormal : subnormal;
}

uint16_t FloatToBFloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

}  // namespace switchyard
