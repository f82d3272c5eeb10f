#include "engine/artifact/torch_pickle.h"

#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/artifact/mapped_file.h"
#include "engine/artifact/pickle_machine.h"
#include "engine/artifact/zip_archive.h"

namespace switchyard {
namespace {
using Bytes = std::span<const std::byte>;
constexpr std::string_view kPickleName = "data.pkl";

std::string_view TextOf(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

// Elements of the shape; nothing when they overflow on the way, even if a size of zero comes later.
std::optional<int64_t> Elements(const std::vector<int64_t>& shape) {
  int64_t elements = 1;
  for (const int64_t n : shape) {
    if (__builtin_mul_overflow(elements, n, &elements)) return std::nullopt;
  }
  return elements;
}

// One past the last element of the storage that the tensor touches; nothing when that overflows.
std::optional<int64_t> End(const PickledTensor& tensor) {
  int64_t last = tensor.offset;
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    int64_t step;
    if (__builtin_mul_overflow(tensor.shape[i] - 1, tensor.strides[i], &step) || __builtin_add_overflow(last, step, &last))
      return std::nullopt;
  }
  return last < INT64_MAX ? std::optional(last + 1) : std::nullopt;
}

bool RowMajor(const PickledTensor& tensor) {
  int64_t expected = 1;
  for (size_t i = tensor.shape.size(); i-- > 0;) {
    if (tensor.shape[i] != 1 && tensor.strides[i] != expected) return false;
    expected *= tensor.shape[i];
  }
  return true;
}

// The elements of a view in row-major order. REQUIRES: the view lies inside `storage`.
std::vector<std::byte> RowMajorCopy(const PickledTensor& tensor, Bytes storage, int64_t elements, size_t width) {
  std::vector<std::byte> copy(static_cast<size_t>(elements) * width);
  std::vector<int64_t> index(tensor.shape.size(), 0);
  int64_t at = tensor.offset;
  for (int64_t i = 0; i < elements; ++i) {
    std::memcpy(copy.data() + static_cast<size_t>(i) * width, storage.data() + static_cast<size_t>(at) * width, width);
    for (size_t d = index.size(); d-- > 0;) {
      if (index[d] + 1 < tensor.shape[d]) {
        ++index[d];
        at += tensor.strides[d];
        break;
      }
      at -= tensor.strides[d] * index[d];
      index[d] = 0;
    }
  }
  return copy;
}
}  // namespace

class TorchPickleParser {
 public:
  static StatusOr<std::shared_ptr<const TorchPickleFile>> Parse(Bytes bytes, std::shared_ptr<const void> owner, const std::string& path) {
    if (!bytes.empty() && bytes[0] == std::byte{0x80}) {
      return Unimplemented(
          "%s: a pickle without a zip archive, as torch.save wrote before PyTorch 1.6; load it in Python and save it again", path);
    }
    TorchPickleParser parser(bytes, std::move(owner), path);
    auto entries = ReadZipDirectory(bytes, path);
    if (absl::IsUnimplemented(entries.status()))
      return Unimplemented("%s; torch.save writes no such archive (TorchScript does)", Message(entries.status()));
    ASSIGN_OR_RETURN(parser.entries_, std::move(entries));
    RETURN_IF_ERROR(parser.FindPrefix());
    RETURN_IF_ERROR(parser.CheckByteOrder());
    const std::string pickle = parser.prefix_ + std::string(kPickleName);
    ASSIGN_OR_RETURN(const auto pickled, ReadPickledStateDict(parser.entries_.at(pickle), path + ": " + pickle));
    auto file = std::make_shared<TorchPickleFile>();
    file->path_ = path;
    for (const auto& [name, tensor] : pickled) {
      ASSIGN_OR_RETURN(TensorView view, parser.View(name, tensor));
      file->tensors_.emplace(name, std::move(view));
    }
    return std::shared_ptr<const TorchPickleFile>(std::move(file));
  }

 private:
  TorchPickleParser(Bytes bytes, std::shared_ptr<const void> owner, const std::string& path)
      : owner_(std::move(owner)), path_(path), copies_left_(bytes.size()) {}

  // Everything lies in one folder, which torch names after the file.
  Status FindPrefix() {
    for (const auto& [name, data] : entries_) {
      const size_t slash = name.find('/');
      if (slash == std::string::npos || std::string_view(name).substr(slash + 1) != kPickleName) continue;
      if (!prefix_.empty())
        return DataLoss("%s: two pickles, \"%s\" and \"%s\"", path_, prefix_ + std::string(kPickleName), name.substr(0, 100));
      prefix_ = name.substr(0, slash + 1);
    }
    return prefix_.empty() ? DataLoss("%s: a zip archive without FOLDER/data.pkl; torch.save did not write it", path_) : OkStatus();
  }

  Status CheckByteOrder() const {
    const auto order = entries_.find(prefix_ + "byteorder");
    if (order == entries_.end() || TextOf(order->second) == "little") return OkStatus();
    return Unimplemented("%s: byte order \"%s\", expected \"little\"", path_, TextOf(order->second).substr(0, 20));
  }

  StatusOr<TensorView> View(const std::string& name, const PickledTensor& tensor) {
    const std::string where = path_ + ": tensor \"" + name.substr(0, 200) + "\"";
    const auto width = static_cast<uint64_t>(DTypeBytes(tensor.dtype));
    const auto found = entries_.find(prefix_ + "data/" + tensor.storage);
    if (found == entries_.end()) return DataLoss("%s: its storage data/%s is not in the archive", where, tensor.storage);
    const Bytes storage = found->second;
    const auto elements_there = static_cast<uint64_t>(tensor.storage_elements);
    if (storage.size() % width != 0 || storage.size() / width != elements_there) {
      return DataLoss("%s: its storage data/%s has %d bytes, expected %d elements of %d", where, tensor.storage, storage.size(),
                      elements_there, width);
    }
    TensorView view{name, tensor.dtype, tensor.shape, {}, owner_};
    const std::optional<int64_t> elements = Elements(tensor.shape);
    if (!elements) return DataLoss("%s: shape %s overflows", where, ShapeString(tensor.shape));
    if (*elements == 0) return view;
    const std::optional<int64_t> end = End(tensor);
    if (!end || *end > tensor.storage_elements) {
      return DataLoss("%s: shape %s, strides %s at offset %d reach past its storage of %d elements", where, ShapeString(tensor.shape),
                      ShapeString(tensor.strides), tensor.offset, tensor.storage_elements);
    }
    if (RowMajor(tensor)) {
      view.data = storage.subspan(static_cast<size_t>(tensor.offset) * width, static_cast<size_t>(*elements) * width);
      return view;
    }
    RETURN_IF_ERROR(Copy(where, tensor, storage, *elements, width, &view));
    return view;
  }

  // A view in another order than its storage; the same view under another name is copied once.
  Status Copy(const std::string& where, const PickledTensor& tensor, Bytes storage, int64_t elements, size_t width, TensorView* view) {
    std::shared_ptr<const std::vector<std::byte>>& copy =
        copies_[{tensor.storage, tensor.dtype, tensor.offset, tensor.shape, tensor.strides}];
    if (copy == nullptr) {
      // Expanded views repeat elements, so a small file could ask for any amount.
      if (static_cast<uint64_t>(elements) > copies_left_ / width) {
        return ResourceExhausted("%s: shape %s with strides %s would be copied, and all copies together may not exceed the file's size",
                                 where, ShapeString(tensor.shape), ShapeString(tensor.strides));
      }
      copies_left_ -= static_cast<uint64_t>(elements) * width;
      copy = std::make_shared<const std::vector<std::byte>>(RowMajorCopy(tensor, storage, elements, width));
    }
    view->data = *copy;
    view->owner = copy;
    return OkStatus();
  }

  using CopyKey = std::tuple<std::string, DType, int64_t, std::vector<int64_t>, std::vector<int64_t>>;
  const std::shared_ptr<const void> owner_;
  const std::string path_;
  uint64_t copies_left_;
  std::map<std::string, Bytes> entries_;
  std::string prefix_;  // "archive/"
  std::map<CopyKey, std::shared_ptr<const std::vector<std::byte>>> copies_;
};

StatusOr<std::shared_ptr<const TorchPickleFile>> TorchPickleFile::Open(const std::string& path) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> mapping, MappedFile::Open(path));
  return TorchPickleParser::Parse(mapping->bytes(), mapping, path);
}

StatusOr<std::shared_ptr<const TorchPickleFile>> TorchPickleFile::Parse(std::shared_ptr<const std::string> bytes, const std::string& name) {
  const Bytes view = std::as_bytes(std::span(bytes->data(), bytes->size()));
  return TorchPickleParser::Parse(view, std::move(bytes), name);
}

StatusOr<TensorView> TorchPickleFile::Get(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) return NotFound("%s: no tensor \"%s\"", path_, name.substr(0, 200));
  return found->second;
}

}  // namespace switchyard
