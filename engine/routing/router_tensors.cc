#include "engine/routing/router_tensors.h"

#include <ATen/ATen.h>

#include "engine/tensor/compute.h"

namespace switchyard {

namespace {

std::string FullName(int32_t layer, const std::string& name) { return absl::StrFormat("layers.%d.router.%s", layer, name); }

bool Fits(const std::vector<int64_t>& found, const std::vector<int64_t>& expected) {
  if (found.size() != expected.size()) return false;
  for (size_t i = 0; i < found.size(); ++i) {
    if (expected[i] == -1 ? found[i] < 1 : found[i] != expected[i]) return false;
  }
  return true;
}

bool IsFloat(DType dtype) { return dtype == DType::kF16 || dtype == DType::kBF16 || dtype == DType::kF32 || dtype == DType::kF64; }

}  // namespace

StatusOr<TensorView> RouterTensors::Find(const std::string& full, const std::vector<int64_t>& shape) {
  ASSIGN_OR_RETURN(const TensorView view, artifact_.tensors->Get(full));
  if (!Fits(view.shape, shape)) {
    return InvalidArgument("%s: tensor %s: expected shape %s, found %s", artifact_.directory, full, ShapeString(shape),
                           ShapeString(view.shape));
  }
  read_.insert(full);
  return view;
}

StatusOr<at::Tensor> RouterTensors::Get(int32_t layer, const std::string& name, const std::vector<int64_t>& shape, at::ScalarType dtype) {
  const std::string full = FullName(layer, name);
  ASSIGN_OR_RETURN(const TensorView view, Find(full, shape));
  if (!IsFloat(view.dtype)) {
    return InvalidArgument("%s: tensor %s: expected a floating-point type, found %s", artifact_.directory, full, DTypeName(view.dtype));
  }
  auto tensor = TensorFromView(view, dtype);
  if (!tensor.ok()) return Annotate(tensor.status(), artifact_.directory);
  return tensor;
}

StatusOr<at::Tensor> RouterTensors::GetIntegers(int32_t layer, const std::string& name, const std::vector<int64_t>& shape) {
  const std::string full = FullName(layer, name);
  ASSIGN_OR_RETURN(const TensorView view, Find(full, shape));
  if (view.dtype != DType::kI32) {
    return InvalidArgument("%s: tensor %s: expected I32, found %s", artifact_.directory, full, DTypeName(view.dtype));
  }
  auto tensor = TensorFromView(view, at::kInt);
  if (!tensor.ok()) return Annotate(tensor.status(), artifact_.directory);
  return tensor;
}

bool RouterTensors::Has(int32_t layer, const std::string& name) const {
  return artifact_.tensors->tensors().contains(FullName(layer, name));
}

bool RouterTensors::IsBf16(int32_t layer, const std::string& name) const {
  const auto found = artifact_.tensors->tensors().find(FullName(layer, name));
  return found != artifact_.tensors->tensors().end() && found->second.dtype == DType::kBF16;
}

Status RouterTensors::CheckAllRead() const {
  for (const auto& [name, view] : artifact_.tensors->tensors()) {
    if (name.starts_with("probe.") || read_.contains(name)) continue;
    return InvalidArgument("%s: tensor %s is no part of a router of kind \"%s\" with %d layers", artifact_.directory, name,
                           artifact_.manifest.kind, artifact_.manifest.num_layers);
  }
  return OkStatus();
}

}  // namespace switchyard
