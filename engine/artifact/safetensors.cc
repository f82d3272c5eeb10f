#include "engine/artifact/safetensors.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/artifact/atomic_file.h"
#include "engine/artifact/mapped_file.h"
#include "engine/artifact/strict_json.h"

namespace switchyard {
namespace {
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kMaxNameBytes = 1024;

StatusOr<DType> ParseDType(const std::string& name, const std::string& where) {
  for (DType d :
       {DType::kBool, DType::kU8, DType::kI8, DType::kI16, DType::kI32, DType::kI64, DType::kF16, DType::kBF16, DType::kF32, DType::kF64}) {
    if (DTypeName(d) == name) return d;
  }
  return Unimplemented("%s: dtype \"%s\" is not supported (expected BOOL, U8, I8, I16, I32, I64, F16, BF16, F32 or F64)", where,
                       name.substr(0, 40));
}

// The reference writer's order of dtypes: by descending alignment, then as its own enumeration has them.
int WriteOrder(DType dtype) {
  constexpr DType kOrder[] = {DType::kI64, DType::kF64, DType::kF32, DType::kI32, DType::kBF16,
                              DType::kF16, DType::kI16, DType::kI8,  DType::kU8,  DType::kBool};
  return static_cast<int>(std::find(std::begin(kOrder), std::end(kOrder), dtype) - std::begin(kOrder));
}
}  // namespace

class SafetensorsParser {
 public:
  static StatusOr<std::shared_ptr<const SafetensorsFile>> Parse(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                                                                const std::string& path) {
    auto file = std::make_shared<SafetensorsFile>();
    file->path_ = path;
    if (bytes.size() < 8) return DataLoss("%s: expected at least 8 bytes, found %d", path, bytes.size());
    uint64_t header = 0;
    std::memcpy(&header, bytes.data(), 8);
    if (header > kMaxHeaderBytes) return DataLoss("%s: header length %d is over the limit of %d bytes", path, header, kMaxHeaderBytes);
    if (header > bytes.size() - 8)
      return DataLoss("%s: header length %d reaches past the end of the file (%d bytes)", path, header, bytes.size());
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + 8, header);
    if (text.empty() || text[0] != '{') return DataLoss("%s: the header must start with '{'", path);
    RETURN_IF_ERROR(CheckStrictJson(text, path + ": header"));
    const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
    if (!json.is_object()) return DataLoss("%s: the header must be a JSON object", path);
    const std::span<const std::byte> data = bytes.subspan(8 + header);
    for (const auto& [name, value] : json.items()) {
      if (name == "__metadata__") {
        if (!value.is_object()) return DataLoss("%s: __metadata__ must be an object", path);
        for (const auto& [k, v] : value.items()) {
          if (!v.is_string()) return DataLoss("%s: __metadata__ entry \"%s\" must be a string", path, k.substr(0, 80));
          file->metadata_[k] = v.get<std::string>();
        }
        continue;
      }
      ASSIGN_OR_RETURN(TensorView view, ParseTensor(name, value, data, path));
      view.owner = owner;
      file->tensors_.emplace(name, std::move(view));
    }
    RETURN_IF_ERROR(CheckContiguous(*file, data));
    return std::shared_ptr<const SafetensorsFile>(std::move(file));
  }

 private:
  static StatusOr<TensorView> ParseTensor(const std::string& name, const nlohmann::json& value, std::span<const std::byte> data,
                                          const std::string& path) {
    if (name.size() > kMaxNameBytes)
      return DataLoss("%s: a tensor name of %d bytes is over the limit of %d", path, name.size(), kMaxNameBytes);
    const std::string where = path + ": tensor \"" + name + "\"";
    if (!value.is_object() || value.size() != 3 || !value.contains("dtype") || !value.contains("shape") ||
        !value.contains("data_offsets")) {
      return DataLoss("%s: expected an object of dtype, shape and data_offsets", where);
    }
    if (!value["dtype"].is_string()) return DataLoss("%s: dtype must be a string", where);
    TensorView view;
    view.name = name;
    ASSIGN_OR_RETURN(view.dtype, ParseDType(value["dtype"].get<std::string>(), where));
    const auto& shape = value["shape"];
    if (!shape.is_array() || shape.size() > 16) return DataLoss("%s: shape must be an array of at most 16 sizes", where);
    int64_t size = DTypeBytes(view.dtype);
    bool zero = false;
    for (const auto& d : shape) {
      if (!d.is_number_unsigned() || d.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))
        return DataLoss("%s: shape must hold non-negative integers", where);
      const auto n = static_cast<int64_t>(d.get<uint64_t>());
      view.shape.push_back(n);
      if (n == 0) zero = true;
      if (!zero && __builtin_mul_overflow(size, n, &size)) return DataLoss("%s: shape %s overflows", where, ShapeString(view.shape));
    }
    if (zero) size = 0;
    const auto& offsets = value["data_offsets"];
    if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() || !offsets[1].is_number_unsigned()) {
      return DataLoss("%s: data_offsets must be two non-negative integers", where);
    }
    const auto begin = offsets[0].get<uint64_t>(), end = offsets[1].get<uint64_t>();
    if (begin > end || end > data.size())
      return DataLoss("%s: data_offsets [%d, %d] lie outside the %d data bytes", where, begin, end, data.size());
    if (end - begin != static_cast<uint64_t>(size)) {
      return DataLoss("%s: %s %s needs %d bytes, data_offsets give %d", where, DTypeName(view.dtype), ShapeString(view.shape), size,
                      end - begin);
    }
    view.data = data.subspan(begin, end - begin);
    return view;
  }

  static Status CheckContiguous(const SafetensorsFile& file, std::span<const std::byte> data) {
    std::vector<const TensorView*> order;
    for (const auto& [name, view] : file.tensors_) order.push_back(&view);
    std::sort(order.begin(), order.end(), [](const TensorView* a, const TensorView* b) {
      return std::pair(a->data.data(), a->data.size()) < std::pair(b->data.data(), b->data.size());
    });
    size_t at = 0;
    for (const TensorView* view : order) {
      const auto begin = static_cast<size_t>(view->data.data() - data.data());
      if (begin != at)
        return DataLoss("%s: tensor \"%s\" begins at byte %d of the data, expected %d (holes and overlaps are refused)", file.path_,
                        view->name, begin, at);
      at += view->data.size();
    }
    if (at != data.size()) return DataLoss("%s: tensors end at byte %d of the data, the file has %d", file.path_, at, data.size());
    return OkStatus();
  }
};

StatusOr<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::Open(const std::string& path) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> mapping, MappedFile::Open(path));
  return SafetensorsParser::Parse(mapping->bytes(), mapping, path);
}

StatusOr<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::Parse(std::shared_ptr<const std::string> bytes, const std::string& name) {
  return SafetensorsParser::Parse(std::as_bytes(std::span(bytes->data(), bytes->size())), bytes, name);
}

std::shared_ptr<const SafetensorsFile> SafetensorsFile::Of(const std::vector<TensorView>& tensors) {
  auto file = std::make_shared<SafetensorsFile>();
  for (const TensorView& tensor : tensors) file->tensors_.emplace(tensor.name, tensor);
  return file;
}

StatusOr<TensorView> SafetensorsFile::Get(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) return NotFound("%s: tensor \"%s\" is missing", path_, name);
  return found->second;
}

StatusOr<std::map<std::string, std::string>> ParseShardIndex(std::string_view text, const std::string& index) {
  RETURN_IF_ERROR(CheckStrictJson(text, index));
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object())
    return DataLoss("%s: expected an object \"weight_map\"", index);
  std::map<std::string, std::string> shard_of;
  for (const auto& [tensor, shard] : json["weight_map"].items()) {
    if (!shard.is_string()) return DataLoss("%s: weight_map[\"%s\"] must be a file name", index, tensor.substr(0, 200));
    const std::string name = shard.get<std::string>();
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos || name.find('\\') != std::string::npos ||
        name.find('\0') != std::string::npos) {
      return DataLoss("%s: weight_map[\"%s\"] = \"%s\": expected a plain file name inside the directory", index, tensor.substr(0, 200),
                      name.substr(0, 200));
    }
    shard_of[tensor] = name;
  }
  return shard_of;
}

StatusOr<std::shared_ptr<const SafetensorsSet>> SafetensorsSet::OpenModelDirectory(const std::string& directory) {
  namespace fs = std::filesystem;
  auto set = std::make_shared<SafetensorsSet>();
  set->directory_ = directory;
  const std::string single = (fs::path(directory) / "model.safetensors").string();
  const std::string index = (fs::path(directory) / "model.safetensors.index.json").string();
  if (!fs::exists(index)) {
    ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(single));
    set->files_.push_back(single);
    set->tensors_ = file->tensors();
    for (const auto& [tensor, view] : set->tensors_) set->file_of_[tensor] = 0;
    return std::shared_ptr<const SafetensorsSet>(std::move(set));
  }
  ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(index, 64 << 20));
  ASSIGN_OR_RETURN(const auto shard_of, ParseShardIndex(text, index));
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : shard_of) shards.insert(shard);
  for (const std::string& shard : shards) {
    const std::string path = (fs::path(directory) / shard).string();
    ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(path));
    set->files_.push_back(path);
    for (const auto& [tensor, view] : file->tensors()) {
      const auto mapped = shard_of.find(tensor);
      if (mapped == shard_of.end()) return DataLoss("%s: tensor \"%s\" is not in the weight_map of %s", path, tensor, index);
      if (mapped->second != shard) return DataLoss("%s: tensor \"%s\" is here, the weight_map says %s", path, tensor, mapped->second);
      set->tensors_[tensor] = view;
      set->file_of_[tensor] = set->files_.size() - 1;
    }
  }
  for (const auto& [tensor, shard] : shard_of) {
    if (!set->tensors_.contains(tensor))
      return DataLoss("%s: tensor \"%s\" is not in %s, where the weight_map says it is", index, tensor, shard);
  }
  return std::shared_ptr<const SafetensorsSet>(std::move(set));
}

StatusOr<TensorView> SafetensorsSet::Get(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) return NotFound("%s: tensor \"%s\" is missing", directory_, name);
  return found->second;
}

const std::string& SafetensorsSet::FileOf(const std::string& name) const {
  const auto found = file_of_.find(name);
  return found == file_of_.end() ? directory_ : files_[found->second];
}

Status WriteSafetensors(const std::string& path, const std::vector<TensorView>& tensors,
                        const std::map<std::string, std::string>& metadata) {
  std::vector<const TensorView*> order;
  for (const TensorView& t : tensors) order.push_back(&t);
  std::sort(order.begin(), order.end(), [](const TensorView* a, const TensorView* b) {
    const int ra = WriteOrder(a->dtype), rb = WriteOrder(b->dtype);
    return ra != rb ? ra < rb : a->name < b->name;
  });
  nlohmann::json header = nlohmann::json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t at = 0;
  std::vector<std::span<const std::byte>> parts(2);
  for (const TensorView* t : order) {
    if (static_cast<int64_t>(t->data.size()) != t->elements() * DTypeBytes(t->dtype)) {
      return InvalidArgument("%s: tensor \"%s\" %s %s does not have %d bytes", path, t->name, DTypeName(t->dtype), ShapeString(t->shape),
                             t->data.size());
    }
    if (header.contains(t->name)) return InvalidArgument("%s: tensor \"%s\" is given twice", path, t->name);
    header[t->name] = {{"dtype", std::string(DTypeName(t->dtype))}, {"shape", t->shape}, {"data_offsets", {at, at + t->data.size()}}};
    at += t->data.size();
    parts.push_back(t->data);
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  parts[0] = std::as_bytes(std::span(&length, 1));
  parts[1] = std::as_bytes(std::span(text.data(), text.size()));
  return WriteFileAtomically(path, parts);
}

}  // namespace switchyard
