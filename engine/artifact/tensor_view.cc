#include "engine/artifact/tensor_view.h"

#include "absl/strings/str_format.h"

namespace switchyard {
namespace {
struct DTypeRow {
  DType dtype;
  std::string_view name;
  int64_t bytes;
};
constexpr DTypeRow kRows[] = {{DType::kBool, "BOOL", 1}, {DType::kU8, "U8", 1},   {DType::kI8, "I8", 1},   {DType::kI16, "I16", 2},
                              {DType::kI32, "I32", 4},   {DType::kI64, "I64", 8}, {DType::kF16, "F16", 2}, {DType::kBF16, "BF16", 2},
                              {DType::kF32, "F32", 4},   {DType::kF64, "F64", 8}};
const DTypeRow& Row(DType dtype) { return kRows[static_cast<int>(dtype)]; }
}  // namespace

std::string_view DTypeName(DType dtype) { return Row(dtype).name; }
int64_t DTypeBytes(DType dtype) { return Row(dtype).bytes; }

int64_t TensorView::elements() const {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  return n;
}

std::string ShapeString(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}
}  // namespace switchyard
