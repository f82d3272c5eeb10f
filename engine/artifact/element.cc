#include "engine/artifact/element.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace switchyard {
namespace {
template <typename T>
T Load(const TensorView& tensor, int64_t index) {
  T value;
  std::memcpy(&value, tensor.data.data() + static_cast<size_t>(index) * sizeof(T), sizeof(T));
  return value;
}

double FromHalf(uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  const double size = exponent == 0    ? std::ldexp(fraction, -24)
                      : exponent == 31 ? (fraction != 0 ? NAN : INFINITY)
                                       : std::ldexp(1024 + fraction, exponent - 25);
  return (bits & 0x8000) != 0 ? -size : size;
}

double FromBf16(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, 4);
  return value;
}

// One unit in the last place, relative and (f16's subnormals) absolute.
double Tolerance(DType dtype, double size) {
  if (dtype == DType::kBF16) return size * 0x1p-8;
  if (dtype == DType::kF16) return std::max(size * 0x1p-11, 0x1p-24);
  return dtype == DType::kF32 ? size * 0x1p-24 : 0;
}
}  // namespace

bool IsFloat(DType dtype) { return dtype == DType::kF16 || dtype == DType::kBF16 || dtype == DType::kF32 || dtype == DType::kF64; }

double ElementAt(const TensorView& tensor, int64_t index) {
  switch (tensor.dtype) {
    case DType::kF16:
      return FromHalf(Load<uint16_t>(tensor, index));
    case DType::kBF16:
      return FromBf16(Load<uint16_t>(tensor, index));
    case DType::kF32:
      return Load<float>(tensor, index);
    default:
      return Load<double>(tensor, index);
  }
}

std::optional<int64_t> FirstDifference(const TensorView& a, const TensorView& b) {
  if (a.dtype == b.dtype) {
    const auto at = std::mismatch(a.data.begin(), a.data.end(), b.data.begin()).first;
    return at == a.data.end() ? std::nullopt : std::optional((at - a.data.begin()) / DTypeBytes(a.dtype));
  }
  for (int64_t i = 0; i < a.elements(); ++i) {
    const double x = ElementAt(a, i), y = ElementAt(b, i), size = std::max(std::abs(x), std::abs(y));
    if (!(std::abs(x - y) <= std::max(Tolerance(a.dtype, size), Tolerance(b.dtype, size)))) return i;
  }
  return std::nullopt;
}

}  // namespace switchyard
