#include "trainer/nn/tensor_views.h"

#include <ATen/ATen.h>

namespace switchyard::trainer {

TensorView ViewOf(const std::string& name, const at::Tensor& tensor) {
  auto owned = std::make_shared<at::Tensor>(tensor.detach().contiguous());
  TensorView view;
  view.name = name;
  switch (owned->scalar_type()) {
    case at::kBFloat16:
      view.dtype = DType::kBF16;
      break;
    case at::kInt:
      view.dtype = DType::kI32;
      break;
    case at::kLong:
      view.dtype = DType::kI64;
      break;
    default:
      *owned = owned->to(at::kFloat);
      view.dtype = DType::kF32;
  }
  view.shape = owned->sizes().vec();
  view.data = {static_cast<const std::byte*>(owned->const_data_ptr()), owned->nbytes()};
  view.owner = owned;
  return view;
}

}  // namespace switchyard::trainer
