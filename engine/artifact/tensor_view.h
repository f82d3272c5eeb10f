// A borrowed tensor of a file on disk: dtype, shape, bytes. No torch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard {

enum class DType { kBool, kU8, kI8, kI16, kI32, kI64, kF16, kBF16, kF32, kF64 };

std::string_view DTypeName(DType dtype);  // safetensors' own names: "F32", "BF16", ...
int64_t DTypeBytes(DType dtype);

// `data` may be misaligned for its dtype (foreign files are). `owner` keeps the mapping alive.
struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  // row-major
  std::span<const std::byte> data;
  std::shared_ptr<const void> owner;
  int64_t elements() const;
};

std::string ShapeString(std::span<const int64_t> shape);  // "[576, 1536]"

}  // namespace switchyard
