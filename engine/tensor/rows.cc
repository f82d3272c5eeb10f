#include "engine/tensor/rows.h"

#include <ATen/ATen.h>

#include <cstring>

namespace switchyard {

at::Tensor GatherRows(const at::Tensor& x, std::span<const int32_t> rows) {
  at::Tensor gathered = at::empty({static_cast<int64_t>(rows.size()), x.size(1)}, x.options());
  const size_t row_bytes = static_cast<size_t>(x.size(1)) * x.element_size();
  const char* from = static_cast<const char*>(x.const_data_ptr());
  char* to = static_cast<char*>(gathered.mutable_data_ptr());
  for (const int32_t row : rows) {
    std::memcpy(to, from + static_cast<size_t>(row) * row_bytes, row_bytes);
    to += row_bytes;
  }
  return gathered;
}

}  // namespace switchyard
