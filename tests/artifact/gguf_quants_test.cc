// Each quantised type against a formula for one value at a time, written from ggml's description of the bits: value i of a block is found
// by its own bit positions, without the loops of the code under test.

#include "engine/artifact/gguf_quants.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace switchyard {
namespace {

using Bytes = std::vector<uint8_t>;

// IEEE half by its definition.
double Half(const Bytes& b, size_t at) {
  const int bits = b[at] | b[at + 1] << 8;
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  const double magnitude = exponent == 0 ? mantissa * std::pow(2.0, -24) : (1 + mantissa / 1024.0) * std::pow(2.0, exponent - 15);
  return bits & 0x8000 ? -magnitude : magnitude;
}

int Nibble(const Bytes& b, size_t at, int high) { return b[at] >> (4 * high) & 15; }
int Bit(const Bytes& b, size_t at, int bit) { return b[at + static_cast<size_t>(bit / 8)] >> (bit % 8) & 1; }

// The 6-bit scale (which = 0) or minimum (which = 1) of group g: the low part of eight values lies in 12 bytes as in ggml's
// get_scale_min_k4.
int KScale(const Bytes& b, size_t at, int g, int which) {
  if (g < 4) return b[at + static_cast<size_t>(g + 4 * which)] & 63;
  const int low = b[at + static_cast<size_t>(g + 4)] >> (4 * which) & 15;
  return low + 16 * (b[at + static_cast<size_t>(g - 4 + 4 * which)] >> 6);
}

double Expected(GgufType type, const Bytes& b, int i) {
  const size_t half_byte = static_cast<size_t>(i % 16);
  const int high = i / 16;
  switch (type) {
    case GgufType::kQ4_0:
      return Half(b, 0) * (Nibble(b, 2 + half_byte, high) - 8);
    case GgufType::kQ4_1:
      return Half(b, 0) * Nibble(b, 4 + half_byte, high) + Half(b, 2);
    case GgufType::kQ5_0:
      return Half(b, 0) * (Nibble(b, 6 + half_byte, high) + 16 * Bit(b, 2, i) - 16);
    case GgufType::kQ5_1:
      return Half(b, 0) * (Nibble(b, 8 + half_byte, high) + 16 * Bit(b, 4, i)) + Half(b, 2);
    case GgufType::kQ8_0:
      return Half(b, 0) * static_cast<int8_t>(b[static_cast<size_t>(2 + i)]);
    case GgufType::kQ4_K: {
      const int g = i / 32;
      const int q = Nibble(b, static_cast<size_t>(16 + i / 64 * 32 + i % 32), g % 2);
      return Half(b, 0) * KScale(b, 4, g, 0) * q - Half(b, 2) * KScale(b, 4, g, 1);
    }
    case GgufType::kQ5_K: {
      const int g = i / 32;
      const int q = Nibble(b, static_cast<size_t>(48 + i / 64 * 32 + i % 32), g % 2) + 16 * (b[static_cast<size_t>(16 + i % 32)] >> g & 1);
      return Half(b, 0) * KScale(b, 4, g, 0) * q - Half(b, 2) * KScale(b, 4, g, 1);
    }
    case GgufType::kQ6_K: {
      const int n = i / 128, within = i % 128;
      const int low = Nibble(b, static_cast<size_t>(64 * n + within % 64), within / 64);
      const int top = b[static_cast<size_t>(128 + 32 * n + within % 32)] >> (within / 32 * 2) & 3;
      return Half(b, 208) * static_cast<int8_t>(b[static_cast<size_t>(192 + i / 16)]) * (low + 16 * top - 32);
    }
    default:
      ADD_FAILURE();
      return 0;
  }
}

class QuantTest : public testing::TestWithParam<GgufType> {};

TEST_P(QuantTest, EveryValueOfRandomBlocksIsWhatTheFormulaSays) {
  const GgufBlock block = *BlockOf(GetParam());
  std::mt19937 random(static_cast<uint32_t>(GetParam()) + 1);
  for (int round = 0; round < 50; ++round) {
    Bytes bytes(static_cast<size_t>(block.bytes));
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    // Halves that are infinite or NaN are a test of their own.
    const size_t halves = GetParam() == GgufType::kQ6_K ? 208 : 0;
    for (size_t at = halves + 1; at < std::min<size_t>(halves + 4, bytes.size()); at += 2) bytes[at] &= 0xbf;
    std::vector<float> values(static_cast<size_t>(block.elements));
    Dequantize(GetParam(), std::as_bytes(std::span(bytes)), values);
    for (int i = 0; i < block.elements; ++i) {
      const double expected = Expected(GetParam(), bytes, i);
      // A few roundings of terms up to the block's largest: a scale times 63 * 31, or 127 * 32.
      const bool has_minimum = GetParam() != GgufType::kQ8_0 && GetParam() != GgufType::kQ6_K;
      const double largest = 4096 * (std::abs(Half(bytes, halves)) + (has_minimum ? std::abs(Half(bytes, 2)) : 0.0));
      ASSERT_NEAR(values[static_cast<size_t>(i)], expected, 2.0 * std::numeric_limits<float>::epsilon() * largest) << "value " << i;
    }
  }
}

TEST_P(QuantTest, BlocksFollowOneAnother) {
  const GgufBlock block = *BlockOf(GetParam());
  Bytes bytes(static_cast<size_t>(block.bytes) * 2, 0x11);
  for (size_t i = static_cast<size_t>(block.bytes); i < bytes.size(); ++i) bytes[i] = 0x23;
  std::vector<float> both(static_cast<size_t>(block.elements) * 2), second(static_cast<size_t>(block.elements));
  Dequantize(GetParam(), std::as_bytes(std::span(bytes)), both);
  Dequantize(GetParam(), std::as_bytes(std::span(bytes)).subspan(static_cast<size_t>(block.bytes)), second);
  EXPECT_TRUE(std::equal(second.begin(), second.end(), both.begin() + block.elements));
  EXPECT_NE(both.front(), both.back());
}

INSTANTIATE_TEST_SUITE_P(Types, QuantTest,
                         testing::Values(GgufType::kQ4_0, GgufType::kQ4_1, GgufType::kQ5_0, GgufType::kQ5_1, GgufType::kQ8_0,
                                         GgufType::kQ4_K, GgufType::kQ5_K, GgufType::kQ6_K),
                         [](const auto& info) { return GgufTypeName(static_cast<uint32_t>(info.param)); });

TEST(QuantTest, AllHalvesBecomeTheirFloats) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = HalfToFloat(static_cast<uint16_t>(bits));
    if ((bits & 0x7c00) == 0x7c00) {
      EXPECT_EQ(std::isnan(value), (bits & 0x3ff) != 0) << bits;
      EXPECT_EQ(std::isinf(value), (bits & 0x3ff) == 0) << bits;
      EXPECT_EQ(std::signbit(value), (bits & 0x8000) != 0) << bits;
      continue;
    }
    const Bytes bytes{static_cast<uint8_t>(bits), static_cast<uint8_t>(bits >> 8)};
    ASSERT_EQ(static_cast<double>(value), Half(bytes, 0)) << bits;
    ASSERT_EQ(std::signbit(value), (bits & 0x8000) != 0) << bits;
  }
}

TEST(QuantTest, PlainTypesAreCopied) {
  const std::vector<float> floats{1.5f, -0.0f, 3e38f};
  std::vector<float> out(3);
  Dequantize(GgufType::kF32, std::as_bytes(std::span(floats)), out);
  EXPECT_EQ(out, floats);
  const std::vector<uint16_t> brain{0x3fc0, 0xc000, 0x7f80};
  Dequantize(GgufType::kBF16, std::as_bytes(std::span(brain)), out);
  EXPECT_EQ(out, (std::vector<float>{1.5f, -2.0f, std::numeric_limits<float>::infinity()}));
}

TEST(QuantTest, BFloat16RoundsToTheNearestAndTiesToEven) {
  EXPECT_EQ(FloatToBFloat16(1.0f), 0x3f80);
  EXPECT_EQ(FloatToBFloat16(std::bit_cast<float>(0x3f808000u)), 0x3f80);  // a tie, down to even
  EXPECT_EQ(FloatToBFloat16(std::bit_cast<float>(0x3f818000u)), 0x3f82);  // a tie, up to even
  EXPECT_EQ(FloatToBFloat16(std::bit_cast<float>(0x3f808001u)), 0x3f81);
  EXPECT_EQ(FloatToBFloat16(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(FloatToBFloat16(-std::numeric_limits<float>::infinity()), 0xff80);
  const uint16_t nan = FloatToBFloat16(std::bit_cast<float>(0x7f800001u));
  EXPECT_TRUE((nan & 0x7f80) == 0x7f80 && (nan & 0x7f) != 0);
}

}  // namespace
}  // namespace switchyard
