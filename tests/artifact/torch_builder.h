// Files of torch.save out of tensors, each in a storage of its own.
#pragma once

#include <map>
#include <string>

#include "engine/artifact/tensor_view.h"
#include "tests/artifact/zip_builder.h"

namespace switchyard::testing_torch {

using testing_zip::Raw;

inline std::string PickledText(const std::string& s) { return "X" + Raw(static_cast<uint32_t>(s.size())) + s; }
inline std::string PickledInt(int64_t n) { return "J" + Raw(static_cast<int32_t>(n)); }

inline std::string StorageType(DType dtype) {
  return dtype == DType::kBF16  ? "BFloat16Storage"
         : dtype == DType::kF16 ? "HalfStorage"
         : dtype == DType::kI64 ? "LongStorage"
                                : "FloatStorage";
}

inline std::string TorchFile(const std::map<std::string, TensorView>& tensors) {
  testing_zip::ZipBuilder zip;
  std::string pickle = "\x80\x02}(";
  int key = 0;
  for (const auto& [name, view] : tensors) {
    std::string sizes = "(", strides = "(";
    int64_t stride = view.elements();
    for (const int64_t n : view.shape) {
      stride /= n;
      sizes += PickledInt(n);
      strides += PickledInt(stride);
    }
    const std::string number = std::to_string(key++);
    pickle += PickledText(name) + "ctorch._utils\n_rebuild_tensor_v2\n((" + PickledText("storage") + "ctorch\n" + StorageType(view.dtype) +
              "\n" + PickledText(number) + PickledText("cpu") + PickledInt(view.elements()) + "tQ" + PickledInt(0) + sizes + "t" + strides +
              "t\x89"
              "ccollections\nOrderedDict\n)RtR";
    zip.Add("m/data/" + number, std::string(reinterpret_cast<const char*>(view.data.data()), view.data.size()));
  }
  return zip.Add("m/data.pkl", pickle + "u.").Build();
}

}  // namespace switchyard::testing_torch
