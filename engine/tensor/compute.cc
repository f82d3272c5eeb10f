#include "engine/tensor/compute.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace switchyard {

namespace {

StatusOr<at::ScalarType> ScalarTypeOf(const TensorView& view) {
  switch (view.dtype) {
    case DType::kBool:
      return at::kBool;
    case DType::kU8:
      return at::kByte;
    case DType::kI8:
      return at::kChar;
    case DType::kI16:
      return at::kShort;
    case DType::kI32:
      return at::kInt;
    case DType::kI64:
      return at::kLong;
    case DType::kF16:
      return at::kHalf;
    case DType::kBF16:
      return at::kBFloat16;
    case DType::kF32:
      return at::kFloat;
    case DType::kF64:
      return at::kDouble;
  }
  return Internal("tensor %s: unknown dtype %d", view.name, static_cast<int>(view.dtype));
}

// Index of the first value whose exponent bits are all set (NaN or infinity), or -1. Branch-free over blocks, so that it runs at memory
// speed.
template <typename Bits>
int64_t FirstNonFinite(const void* data, int64_t count, Bits exponent) {
  const Bits* values = static_cast<const Bits*>(data);
  constexpr int64_t kBlock = 4096;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t end = std::min(count, begin + kBlock);
    int bad = 0;
    for (int64_t i = begin; i < end; ++i) bad |= (values[i] & exponent) == exponent;
    if (bad == 0) continue;
    for (int64_t i = begin; i < end; ++i) {
      if ((values[i] & exponent) == exponent) return i;
    }
  }
  return -1;
}

int64_t FirstNonFinite(const at::Tensor& t) {
  switch (t.scalar_type()) {
    case at::kHalf:
      return FirstNonFinite<uint16_t>(t.const_data_ptr(), t.numel(), 0x7c00);
    case at::kBFloat16:
      return FirstNonFinite<uint16_t>(t.const_data_ptr(), t.numel(), 0x7f80);
    case at::kFloat:
      return FirstNonFinite<uint32_t>(t.const_data_ptr(), t.numel(), 0x7f800000u);
    case at::kDouble:
      return FirstNonFinite<uint64_t>(t.const_data_ptr(), t.numel(), 0x7ff0000000000000ull);
    default:
      return -1;
  }
}

}  // namespace

StatusOr<at::Tensor> TensorFromView(const TensorView& view, at::ScalarType dtype) {
  ASSIGN_OR_RETURN(const at::ScalarType stored, ScalarTypeOf(view));
  const int64_t want = view.elements() * DTypeBytes(view.dtype);
  if (want != static_cast<int64_t>(view.data.size())) {
    return DataLoss("tensor %s: shape %s needs %d bytes, the file gives %d", view.name, ShapeString(view.shape), want, view.data.size());
  }
  at::Tensor raw = at::empty(view.shape, stored);
  if (!view.data.empty()) std::memcpy(raw.mutable_data_ptr(), view.data.data(), view.data.size());
  if (const int64_t bad = FirstNonFinite(raw); bad >= 0) {
    return DataLoss("tensor %s: element %d of shape %s is NaN or infinite", view.name, bad, ShapeString(view.shape));
  }
  if (stored == dtype) return raw;
  at::Tensor converted = raw.to(dtype);
  if (const int64_t bad = FirstNonFinite(converted); bad >= 0) {
    return DataLoss("tensor %s: element %d of shape %s does not fit %s", view.name, bad, ShapeString(view.shape), c10::toString(dtype));
  }
  return converted;
}

}  // namespace switchyard
