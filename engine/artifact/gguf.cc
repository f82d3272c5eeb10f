#include "engine/artifact/gguf.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "engine/artifact/mapped_file.h"

namespace switchyard {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF is read by copying little-endian values");

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr int64_t kDefaultAlignment = 32;
constexpr int64_t kMaxAlignment = 1 << 20;
constexpr uint32_t kMaxDimensions = 4;
constexpr size_t kMaxNameBytes = 4096;

// Type numbers of metadata values.
enum ValueType : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };

// Bytes a value takes at least; 0 for an unknown type.
size_t MinimumBytes(uint32_t type) {
  switch (type) {
    case kU8:
    case kI8:
    case kBool:
      return 1;
    case kU16:
    case kI16:
      return 2;
    case kU32:
    case kI32:
    case kF32:
      return 4;
    case kU64:
    case kI64:
    case kF64:
    case kString:
      return 8;
    case kArray:
      return 12;
    default:
      return 0;
  }
}

}  // namespace

int64_t GgufTensor::elements() const {
  int64_t product = 1;
  for (int64_t dimension : shape) product *= dimension;  // bounded by the file's size when the file was read
  return product;
}

// Reads front to back; `at_` never passes the end.
class GgufParser {
 public:
  GgufParser(std::span<const std::byte> bytes, const std::string& path) : bytes_(bytes), path_(path), file_(std::make_shared<GgufFile>()) {}

  StatusOr<std::shared_ptr<GgufFile>> Run() {
    file_->path_ = path_;
    uint64_t tensor_count = 0, value_count = 0;
    RETURN_IF_ERROR(ReadHeader(&tensor_count, &value_count));
    for (uint64_t i = 0; i < value_count; ++i) RETURN_IF_ERROR(ReadMetadata());
    ASSIGN_OR_RETURN(const int64_t alignment, Alignment());
    for (uint64_t i = 0; i < tensor_count; ++i) RETURN_IF_ERROR(ReadTensorInfo(alignment));
    RETURN_IF_ERROR(PlaceTensors(alignment));
    return file_;
  }

 private:
  size_t left() const { return bytes_.size() - at_; }

  template <typename T>
  Status Read(const char* what, T* value) {
    if (left() < sizeof(T)) return DataLoss("%s: ends inside %s at byte %d", path_, what, at_);
    std::memcpy(value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return OkStatus();
  }

  Status ReadString(const char* what, size_t max_bytes, std::string* text) {
    uint64_t length = 0;
    RETURN_IF_ERROR(Read(what, &length));
    if (length > left()) return DataLoss("%s: %s of %d bytes at byte %d, but only %d are left", path_, what, length, at_, left());
    if (length > max_bytes) return DataLoss("%s: %s of %d bytes at byte %d, at most %d are allowed", path_, what, length, at_, max_bytes);
    text->assign(reinterpret_cast<const char*>(bytes_.data() + at_), length);
    at_ += length;
    return OkStatus();
  }

  Status ReadHeader(uint64_t* tensor_count, uint64_t* value_count) {
    uint32_t magic = 0;
    RETURN_IF_ERROR(Read("the header", &magic));
    if (magic != kMagic) return DataLoss("%s: not a GGUF file (it starts with 0x%08x, expected \"GGUF\")", path_, magic);
    RETURN_IF_ERROR(Read("the header", &file_->version_));
    if ((file_->version_ & 0xffff) == 0) return Unimplemented("%s: a big-endian GGUF file; only little-endian ones are read", path_);
    if (file_->version_ != 2 && file_->version_ != 3)
      return Unimplemented("%s: GGUF version %d; versions 2 and 3 are read", path_, file_->version_);
    RETURN_IF_ERROR(Read("the header", tensor_count));
    RETURN_IF_ERROR(Read("the header", value_count));
    // The least a metadata entry takes is 13 bytes, the least a tensor takes is 24 + 8 for its one dimension.
    if (*value_count > left() / 13) return DataLoss("%s: %d metadata entries cannot fit into %d bytes", path_, *value_count, left());
    if (*tensor_count > left() / 32) return DataLoss("%s: %d tensors cannot fit into %d bytes", path_, *tensor_count, left());
    return OkStatus();
  }

  Status ReadMetadata() {
    std::string key;
    RETURN_IF_ERROR(ReadString("a metadata key", kMaxNameBytes, &key));
    uint32_t type = 0;
    RETURN_IF_ERROR(Read("a metadata type", &type));
    GgufValue value;
    RETURN_IF_ERROR(type == kArray ? ReadArray(key, &value) : ReadValue(key, type, &value));
    if (!file_->metadata_.emplace(key, std::move(value)).second) return DataLoss("%s: metadata key \"%s\" appears twice", path_, key);
    return OkStatus();
  }

  template <typename T>
  Status ReadWidened(GgufValue* value) {
    T raw{};
    RETURN_IF_ERROR(Read("a metadata value", &raw));
    if constexpr (std::is_floating_point_v<T>) {
      *value = static_cast<double>(raw);
    } else {
      if (!std::in_range<int64_t>(raw)) return DataLoss("%s: metadata value %d at byte %d is too large", path_, raw, at_ - sizeof(T));
      *value = static_cast<int64_t>(raw);
    }
    return OkStatus();
  }

  Status ReadValue(const std::string& key, uint32_t type, GgufValue* value) {
    switch (type) {
      case kU8:
        return ReadWidened<uint8_t>(value);
      case kI8:
        return ReadWidened<int8_t>(value);
      case kU16:
        return ReadWidened<uint16_t>(value);
      case kI16:
        return ReadWidened<int16_t>(value);
      case kU32:
        return ReadWidened<uint32_t>(value);
      case kI32:
        return ReadWidened<int32_t>(value);
      case kU64:
        return ReadWidened<uint64_t>(value);
      case kI64:
        return ReadWidened<int64_t>(value);
      case kF32:
        return ReadWidened<float>(value);
      case kF64:
        return ReadWidened<double>(value);
      case kBool:
        return ReadBool(key, value);
      case kString: {
        std::string text;
        RETURN_IF_ERROR(ReadString("a metadata string", std::numeric_limits<size_t>::max(), &text));
        *value = std::move(text);
        return OkStatus();
      }
      default:
        return DataLoss("%s: metadata key \"%s\" has the unknown type %d", path_, key, type);
    }
  }

  Status ReadBool(const std::string& key, GgufValue* value) {
    uint8_t raw = 0;
    RETURN_IF_ERROR(Read("a metadata value", &raw));
    if (raw > 1) return DataLoss("%s: metadata key \"%s\": a bool of value %d", path_, key, static_cast<int>(raw));
    *value = raw == 1;
    return OkStatus();
  }

  Status ReadArray(const std::string& key, GgufValue* value) {
    uint32_t type = 0;
    uint64_t count = 0;
    RETURN_IF_ERROR(Read("an array", &type));
    RETURN_IF_ERROR(Read("an array", &count));
    const size_t least = MinimumBytes(type);
    if (least == 0) return DataLoss("%s: metadata key \"%s\": an array of the unknown type %d", path_, key, type);
    if (type == kArray) return Unimplemented("%s: metadata key \"%s\": arrays of arrays are not read", path_, key);
    if (count > left() / least) return DataLoss("%s: metadata key \"%s\": %d elements cannot fit into %d bytes", path_, key, count, left());
    if (type == kString) return ReadElements<std::string>(key, type, count, value);
    if (type == kF32 || type == kF64) return ReadElements<double>(key, type, count, value);
    return ReadElements<int64_t>(key, type, count, value);
  }

  template <typename T>
  Status ReadElements(const std::string& key, uint32_t type, uint64_t count, GgufValue* value) {
    std::vector<T> elements;
    elements.reserve(count);
    for (uint64_t i = 0; i < count; ++i) {
      GgufValue element;
      RETURN_IF_ERROR(ReadValue(key, type, &element));
      if constexpr (std::is_same_v<T, int64_t>) {
        if (const bool* flag = std::get_if<bool>(&element)) element = static_cast<int64_t>(*flag);
      }
      elements.push_back(std::get<T>(std::move(element)));
    }
    *value = std::move(elements);
    return OkStatus();
  }

  StatusOr<int64_t> Alignment() {
    ASSIGN_OR_RETURN(const std::optional<int64_t> given, file_->FindInt("general.alignment"));
    const int64_t alignment = given.value_or(kDefaultAlignment);
    if (alignment < 8 || alignment > kMaxAlignment || !std::has_single_bit(static_cast<uint64_t>(alignment))) {
      return DataLoss("%s: general.alignment is %d, expected a power of two from 8 to %d", path_, alignment, kMaxAlignment);
    }
    return alignment;
  }

  // Fills all but the data; the offset waits in `offsets_` until the start of the data is known.
  Status ReadTensorInfo(int64_t alignment) {
    GgufTensor tensor;
    RETURN_IF_ERROR(ReadString("a tensor name", kMaxNameBytes, &tensor.name));
    uint32_t dimensions = 0;
    RETURN_IF_ERROR(Read("a tensor", &dimensions));
    if (dimensions < 1 || dimensions > kMaxDimensions) {
      return DataLoss("%s: tensor \"%s\" has %d dimensions, expected 1 to %d", path_, tensor.name, dimensions, kMaxDimensions);
    }
    uint64_t elements = 1;
    for (uint32_t i = 0; i < dimensions; ++i) {
      uint64_t dimension = 0;
      RETURN_IF_ERROR(Read("a tensor", &dimension));
      // No type has more than 4 values in a byte, which bounds the product long before it can overflow.
      if (dimension == 0 || dimension > 4 * bytes_.size() / elements) {
        return DataLoss("%s: tensor \"%s\": dimension %d of size %d cannot be in a file of %d bytes", path_, tensor.name, i, dimension,
                        bytes_.size());
      }
      elements *= dimension;
      tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(dimension));
    }
    uint32_t type = 0;
    uint64_t offset = 0;
    RETURN_IF_ERROR(Read("a tensor", &type));
    RETURN_IF_ERROR(Read("a tensor", &offset));
    tensor.type = static_cast<GgufType>(type);
    const auto block = BlockOf(tensor.type);
    if (!block) return Unimplemented("%s: tensor \"%s\" is %s, which is not read", path_, tensor.name, GgufTypeName(type));
    if (tensor.shape.back() % block->elements != 0) {
      return DataLoss("%s: tensor \"%s\": rows of %d values are not whole blocks of %d (%s)", path_, tensor.name, tensor.shape.back(),
                      block->elements, block->name);
    }
    if (offset % static_cast<uint64_t>(alignment) != 0) {
      return DataLoss("%s: tensor \"%s\": offset %d is not a multiple of the alignment %d", path_, tensor.name, offset, alignment);
    }
    const std::string name = tensor.name;
    if (!file_->tensors_.emplace(name, std::move(tensor)).second) return DataLoss("%s: tensor \"%s\" appears twice", path_, name);
    offsets_.emplace_back(offset, name);
    return OkStatus();
  }

  Status PlaceTensors(int64_t alignment) {
    const uint64_t mask = static_cast<uint64_t>(alignment) - 1;
    const uint64_t start = std::min<uint64_t>((at_ + mask) & ~mask, bytes_.size());
    const std::span<const std::byte> data = bytes_.subspan(start);
    std::sort(offsets_.begin(), offsets_.end());
    uint64_t end = 0;
    const std::string* before = nullptr;
    for (const auto& [offset, name] : offsets_) {
      GgufTensor& tensor = file_->tensors_.at(name);
      const auto block = *BlockOf(tensor.type);
      const uint64_t size = static_cast<uint64_t>(tensor.elements() / block.elements * block.bytes);
      if (offset > data.size() || size > data.size() - offset) {
        return DataLoss("%s: tensor \"%s\" needs bytes %d to %d of the data, but there are %d", path_, name, offset, offset + size,
                        data.size());
      }
      if (offset < end) return DataLoss("%s: tensors \"%s\" and \"%s\" overlap", path_, *before, name);
      tensor.data = data.subspan(offset, size);
      end = offset + size;
      before = &name;
    }
    return OkStatus();
  }

  std::span<const std::byte> bytes_;
  const std::string& path_;
  size_t at_ = 0;
  std::shared_ptr<GgufFile> file_;
  std::vector<std::pair<uint64_t, std::string>> offsets_;

 public:
  static StatusOr<std::shared_ptr<const GgufFile>> ParseOwned(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                                                              const std::string& path) {
    ASSIGN_OR_RETURN(std::shared_ptr<GgufFile> file, GgufParser(bytes, path).Run());
    file->owner_ = std::move(owner);
    return std::shared_ptr<const GgufFile>(std::move(file));
  }
};

StatusOr<std::shared_ptr<const GgufFile>> GgufFile::Open(const std::string& path) {
  ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> mapped, MappedFile::Open(path));
  const std::span<const std::byte> bytes = mapped->bytes();
  return GgufParser::ParseOwned(bytes, std::move(mapped), path);
}

StatusOr<std::shared_ptr<const GgufFile>> GgufFile::Parse(std::shared_ptr<const std::string> bytes, const std::string& name) {
  const std::span view(reinterpret_cast<const std::byte*>(bytes->data()), bytes->size());
  return GgufParser::ParseOwned(view, std::move(bytes), name);
}

namespace {

template <typename T>
StatusOr<std::optional<T>> Find(const GgufFile& file, const std::string& key, const char* expected) {
  auto entry = file.metadata().find(key);
  if (entry == file.metadata().end()) return std::optional<T>();
  if (const T* value = std::get_if<T>(&entry->second)) return std::optional<T>(*value);
  return DataLoss("%s: metadata key \"%s\" is not %s", file.path(), key, expected);
}

template <typename T>
StatusOr<T> Require(const GgufFile& file, const std::string& key, StatusOr<std::optional<T>> found) {
  if (!found.ok()) return found.status();
  if (!found->has_value()) return NotFound("%s: no metadata key \"%s\"", file.path(), key);
  return **std::move(found);
}

}  // namespace

StatusOr<std::optional<int64_t>> GgufFile::FindInt(const std::string& key) const { return Find<int64_t>(*this, key, "an integer"); }
StatusOr<std::optional<std::string>> GgufFile::FindString(const std::string& key) const {
  return Find<std::string>(*this, key, "a string");
}
StatusOr<std::optional<double>> GgufFile::FindNumber(const std::string& key) const {
  auto entry = metadata_.find(key);
  if (entry != metadata_.end()) {
    if (const int64_t* integer = std::get_if<int64_t>(&entry->second)) return std::optional<double>(static_cast<double>(*integer));
  }
  return Find<double>(*this, key, "a number");
}
StatusOr<std::string> GgufFile::GetString(const std::string& key) const { return Require(*this, key, FindString(key)); }
StatusOr<int64_t> GgufFile::GetInt(const std::string& key) const { return Require(*this, key, FindInt(key)); }
StatusOr<double> GgufFile::GetNumber(const std::string& key) const { return Require(*this, key, FindNumber(key)); }
StatusOr<std::vector<std::string>> GgufFile::GetStrings(const std::string& key) const {
  return Require(*this, key, Find<std::vector<std::string>>(*this, key, "an array of strings"));
}
StatusOr<std::vector<int64_t>> GgufFile::GetInts(const std::string& key) const {
  return Require(*this, key, Find<std::vector<int64_t>>(*this, key, "an array of integers"));
}

}  // namespace switchyard
