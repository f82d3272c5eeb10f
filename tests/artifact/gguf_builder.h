// Writes small GGUF files for tests, whole or damaged. Independent of the reader: it knows the format from its description only.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace switchyard::testing_gguf {

template <typename T>
std::string Raw(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(T));
}
inline std::string Text(const std::string& text) { return Raw<uint64_t>(text.size()) + text; }

template <typename T>
std::string RawAll(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

class GgufBuilder {
 public:
  // Changed by tests that damage the header.
  uint32_t magic = 0x46554747;
  uint32_t version = 3;
  std::optional<uint64_t> tensor_count;
  std::optional<uint64_t> value_count;
  uint64_t alignment = 32;

  // `type` and `payload` as the file has them.
  GgufBuilder& Value(const std::string& key, uint32_t type, const std::string& payload) {
    values_ += Text(key) + Raw(type) + payload;
    ++values_written_;
    return *this;
  }
  GgufBuilder& U32(const std::string& key, uint32_t value) { return Value(key, 4, Raw(value)); }
  GgufBuilder& F32(const std::string& key, float value) { return Value(key, 6, Raw(value)); }
  GgufBuilder& Bool(const std::string& key, bool value) { return Value(key, 7, Raw<uint8_t>(value)); }
  GgufBuilder& Str(const std::string& key, const std::string& value) { return Value(key, 8, Text(value)); }
  GgufBuilder& Strs(const std::string& key, const std::vector<std::string>& values) {
    std::string payload = Raw<uint32_t>(8) + Raw<uint64_t>(values.size());
    for (const std::string& value : values) payload += Text(value);
    return Value(key, 9, payload);
  }
  GgufBuilder& I32s(const std::string& key, const std::vector<int32_t>& values) {
    return Value(key, 9, Raw<uint32_t>(5) + Raw<uint64_t>(values.size()) + RawAll(values));
  }

  // `dimensions` in the file's order: the contiguous one first. The offset follows the tensors before unless it is given.
  GgufBuilder& Tensor(const std::string& name, const std::vector<uint64_t>& dimensions, uint32_t type, const std::string& data,
                      std::optional<uint64_t> offset = std::nullopt) {
    data_.resize((data_.size() + alignment - 1) / alignment * alignment);
    infos_ += Text(name) + Raw<uint32_t>(dimensions.size()) + RawAll(dimensions) + Raw(type) + Raw<uint64_t>(offset.value_or(data_.size()));
    data_ += data;
    ++tensors_written_;
    return *this;
  }
  GgufBuilder& F32Tensor(const std::string& name, const std::vector<uint64_t>& dimensions, const std::vector<float>& values) {
    return Tensor(name, dimensions, 0, RawAll(values));
  }

  std::string Build() const {
    std::string file = Raw(magic) + Raw(version) + Raw<uint64_t>(tensor_count.value_or(tensors_written_)) +
                       Raw<uint64_t>(value_count.value_or(values_written_)) + values_ + infos_;
    file.resize((file.size() + alignment - 1) / alignment * alignment);
    return file + data_;
  }

 private:
  std::string values_, infos_, data_;
  uint64_t values_written_ = 0, tensors_written_ = 0;
};

}  // namespace switchyard::testing_gguf
