#include "engine/artifact/import_gguf.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "engine/artifact/atomic_file.h"
#include "engine/artifact/gguf_quants.h"
#include "engine/artifact/import_model.h"
#include "engine/artifact/import_tokenizer.h"
#include "engine/artifact/safetensors.h"
#include "nlohmann/json.hpp"

namespace switchyard {
namespace {

template <typename Json>
Status WriteJson(const std::string& path, const Json& json, int indent) {
  std::string text;
  try {
    text = json.dump(indent) + "\n";
  } catch (const nlohmann::json::exception& e) {
    return DataLoss("%s: the GGUF file's text is not valid UTF-8: %s", path, e.what());
  }
  return WriteFileAtomically(path, text);
}

void Store(DType dtype, const std::vector<float>& row, std::byte* out) {
  if (dtype == DType::kF32) {
    std::memcpy(out, row.data(), row.size() * sizeof(float));
    return;
  }
  for (size_t i = 0; i < row.size(); ++i) {
    const uint16_t narrow = FloatToBFloat16(row[i]);
    std::memcpy(out + 2 * i, &narrow, sizeof(narrow));
  }
}

// The tensor as floats of `dtype`, its rows where Hugging Face has them.
StatusOr<TensorView> Convert(const GgufFile& file, const GgufTensor& tensor, const GgufTensorRule& rule, DType dtype) {
  if (tensor.shape != rule.shape) {
    return DataLoss("%s: tensor \"%s\": expected shape %s, found %s", file.path(), tensor.name, ShapeString(rule.shape),
                    ShapeString(tensor.shape));
  }
  // A vector of permuted values is a matrix of rows of one.
  const int64_t columns = rule.permuted_heads != 0 && tensor.shape.size() == 1 ? 1 : tensor.shape.back();
  const int64_t rows = tensor.elements() / columns;
  const GgufBlock block = *BlockOf(tensor.type);
  if (columns % block.elements != 0) return Unimplemented("%s: tensor \"%s\": a quantised bias", file.path(), tensor.name);
  const size_t row_bytes = static_cast<size_t>(columns / block.elements * block.bytes);
  const size_t out_row_bytes = static_cast<size_t>(columns * DTypeBytes(dtype));
  auto bytes = std::make_shared<std::vector<std::byte>>(static_cast<size_t>(rows) * out_row_bytes);
  std::vector<float> row(static_cast<size_t>(columns));
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t from = rule.permuted_heads != 0 ? PermutedRow(r, rows, rule.permuted_heads) : r;
    Dequantize(tensor.type, tensor.data.subspan(static_cast<size_t>(from) * row_bytes, row_bytes), row);
    if (!std::all_of(row.begin(), row.end(), [](float x) { return std::isfinite(x); })) {
      return DataLoss("%s: tensor \"%s\": row %d has a value that is not finite", file.path(), tensor.name, from);
    }
    Store(dtype, row, bytes->data() + static_cast<size_t>(r) * out_row_bytes);
  }
  TensorView view{rule.name, dtype, rule.shape, std::span<const std::byte>(*bytes), nullptr};
  view.owner = std::move(bytes);
  return view;
}

StatusOr<std::vector<TensorView>> ConvertAll(const GgufFile& file, const GgufModel& model, DType dtype) {
  const std::vector<GgufTensorRule> rules = TensorRules(model);
  std::map<std::string, const GgufTensorRule*> by_name;
  for (const GgufTensorRule& rule : rules) by_name.emplace(rule.gguf_name, &rule);
  for (const auto& [name, tensor] : file.tensors()) {
    if (!by_name.count(name) && name != "rope_freqs.weight") {
      return DataLoss("%s: tensor \"%s\" %s has no place in the %s architecture", file.path(), name, ShapeString(tensor.shape),
                      model.architecture);
    }
  }
  std::vector<TensorView> views;
  for (const GgufTensorRule& rule : rules) {
    auto entry = file.tensors().find(rule.gguf_name);
    if (entry == file.tensors().end())
      return DataLoss("%s: no tensor \"%s\", expected shape %s", file.path(), rule.gguf_name, ShapeString(rule.shape));
    ASSIGN_OR_RETURN(TensorView view, Convert(file, entry->second, rule, dtype));
    views.push_back(std::move(view));
  }
  return views;
}

}  // namespace

StatusOr<ImportedModel> ImportGguf(const std::string& gguf_path, const std::string& directory, DType dtype) {
  ASSIGN_OR_RETURN(const auto file, GgufFile::Open(gguf_path));
  return ImportGguf(*file, directory, dtype);
}

StatusOr<ImportedModel> ImportGguf(const GgufFile& file, const std::string& directory, DType dtype) {
  if (dtype != DType::kBF16 && dtype != DType::kF32) return InvalidArgument("dtype %s: BF16 and F32 are written", DTypeName(dtype));
  ASSIGN_OR_RETURN(const GgufModel model, ReadGgufModel(file));
  ASSIGN_OR_RETURN(const auto config, ConfigJson(file, model, dtype == DType::kBF16 ? "bfloat16" : "float32"));
  ASSIGN_OR_RETURN(const auto generation, GenerationConfigJson(file));
  ASSIGN_OR_RETURN(const auto tokenizer, TokenizerJson(file));
  ASSIGN_OR_RETURN(const auto tokenizer_config, TokenizerConfigJson(file, model.max_positions));
  ASSIGN_OR_RETURN(StagedDirectory staging, StagedDirectory::Create(directory));
  ASSIGN_OR_RETURN(const std::vector<TensorView> tensors, ConvertAll(file, model, dtype));

  RETURN_IF_ERROR(WriteSafetensors(staging.path() + "/model.safetensors", tensors, {{"format", "pt"}}));
  RETURN_IF_ERROR(WriteJson(staging.path() + "/generation_config.json", generation, 2));
  RETURN_IF_ERROR(WriteJson(staging.path() + "/tokenizer.json", tokenizer, -1));
  RETURN_IF_ERROR(WriteJson(staging.path() + "/tokenizer_config.json", tokenizer_config, 2));
  RETURN_IF_ERROR(WriteJson(staging.path() + "/config.json", config, 2));
  RETURN_IF_ERROR(staging.Publish());

  ImportedModel imported{model.architecture, model.layers, 0, model.vocabulary, model.tied_head};
  for (const TensorView& tensor : tensors) imported.parameters += tensor.elements();
  return imported;
}

}  // namespace switchyard
