#include "engine/artifact/merged_base.h"

#include <cstring>
#include <filesystem>
#include <memory>
#include <vector>

#include "engine/artifact/atomic_file.h"
#include "engine/artifact/bf16.h"
#include "engine/artifact/element.h"
#include "engine/artifact/safetensors.h"

namespace switchyard {
namespace {
namespace fs = std::filesystem;

std::vector<float> Floats(const TensorView& view) {
  std::vector<float> values(static_cast<size_t>(view.elements()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(ElementAt(view, static_cast<int64_t>(i)));
  return values;
}

StatusOr<TensorView> Merge(const TensorView& weight, const ScaledLora& lora) {
  const int64_t out = lora.b.shape[0], in = lora.a.shape[1], rank = lora.a.shape[0];
  if (weight.dtype != DType::kF32 && weight.dtype != DType::kBF16)
    return Unimplemented("tensor \"%s\": dtype %s; LoRA is added to F32 and BF16", weight.name, DTypeName(weight.dtype));
  if (weight.shape != std::vector<int64_t>{out, in})
    return DataLoss("tensor \"%s\" is %s, expected [%d, %d]", weight.name, ShapeString(weight.shape), out, in);
  const std::vector<float> a = Floats(lora.a), b = Floats(lora.b);
  const auto bytes = std::make_shared<std::vector<std::byte>>(weight.data.size());
  std::vector<float> row(static_cast<size_t>(in));
  for (int64_t o = 0; o < out; ++o) {
    for (int64_t i = 0; i < in; ++i) row[i] = static_cast<float>(ElementAt(weight, o * in + i));
    for (int64_t r = 0; r < rank; ++r) {
      const float factor = static_cast<float>(lora.scale) * b[o * rank + r];
      for (int64_t i = 0; i < in; ++i) row[i] += factor * a[r * in + i];
    }
    std::byte* to = bytes->data() + o * in * DTypeBytes(weight.dtype);
    if (weight.dtype == DType::kF32) {
      std::memcpy(to, row.data(), row.size() * sizeof(float));
      continue;
    }
    for (int64_t i = 0; i < in; ++i) {
      const uint16_t bits = RoundToBf16(row[i]);
      std::memcpy(to + 2 * i, &bits, 2);
    }
  }
  TensorView merged = weight;
  merged.data = *bytes;
  merged.owner = bytes;
  return merged;
}
}  // namespace

Status WriteMergedBase(const std::string& base_directory, const std::map<std::pair<int32_t, AttentionProjection>, ScaledLora>& lora,
                       const std::string& directory) {
  ASSIGN_OR_RETURN(const auto base, SafetensorsSet::OpenModelDirectory(base_directory));
  std::map<std::string, TensorView> tensors = base->tensors();
  for (const auto& [key, pair] : lora) {
    const std::string name = "model.layers." + std::to_string(key.first) + ".self_attn." + ShortName(key.second) + "_proj.weight";
    const auto found = tensors.find(name);
    if (found == tensors.end()) return NotFound("%s: tensor \"%s\" is missing", base_directory, name);
    ASSIGN_OR_RETURN(found->second, Merge(found->second, pair));
  }
  std::vector<TensorView> all;
  for (auto& [name, view] : tensors) {
    all.push_back(std::move(view));
    all.back().name = name;
  }
  ASSIGN_OR_RETURN(StagedDirectory staged, StagedDirectory::Create(directory));
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(base_directory, error)) {
    const std::string name = entry.path().filename();
    if (!entry.is_regular_file() || name.starts_with(".") || name.find(".safetensors") != std::string::npos) continue;
    fs::copy_file(entry.path(), staged.path() + "/" + name, error);
    if (error) return Internal("%s: cannot be copied: %s", entry.path().string(), error.message());
  }
  RETURN_IF_ERROR(WriteSafetensors(staged.path() + "/model.safetensors", all, {{"format", "pt"}}));
  return staged.Publish();
}

}  // namespace switchyard
