#include "engine/artifact/finite.h"

#include <cstring>

namespace switchyard {
namespace {
// First element whose exponent bits are all ones.
template <typename Bits>
std::optional<int64_t> FirstWithExponent(std::span<const std::byte> data, Bits exponent) {
  for (size_t i = 0; i + sizeof(Bits) <= data.size(); i += sizeof(Bits)) {
    Bits bits;
    std::memcpy(&bits, data.data() + i, sizeof(Bits));
    if ((bits & exponent) == exponent) return static_cast<int64_t>(i / sizeof(Bits));
  }
  return std::nullopt;
}
template <typename Bits>
bool AllZeroBits(std::span<const std::byte> data, Bits magnitude) {
  for (size_t i = 0; i + sizeof(Bits) <= data.size(); i += sizeof(Bits)) {
    Bits bits;
    std::memcpy(&bits, data.data() + i, sizeof(Bits));
    if ((bits & magnitude) != 0) return false;
  }
  return true;
}
}  // namespace

std::optional<int64_t> FirstNonFinite(const TensorView& tensor) {
  switch (tensor.dtype) {
    case DType::kF16:
      return FirstWithExponent<uint16_t>(tensor.data, 0x7C00);
    case DType::kBF16:
      return FirstWithExponent<uint16_t>(tensor.data, 0x7F80);
    case DType::kF32:
      return FirstWithExponent<uint32_t>(tensor.data, 0x7F800000u);
    case DType::kF64:
      return FirstWithExponent<uint64_t>(tensor.data, 0x7FF0000000000000u);
    default:
      return std::nullopt;
  }
}

bool AllZero(const TensorView& tensor) {
  switch (tensor.dtype) {
    case DType::kF16:
    case DType::kBF16:
      return AllZeroBits<uint16_t>(tensor.data, 0x7FFF);
    case DType::kF32:
      return AllZeroBits<uint32_t>(tensor.data, 0x7FFFFFFFu);
    case DType::kF64:
      return AllZeroBits<uint64_t>(tensor.data, 0x7FFFFFFFFFFFFFFFu);
    default:
      return AllZeroBits<uint8_t>(tensor.data, 0xFF);
  }
}
}  // namespace switchyard
