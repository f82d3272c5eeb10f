// Reading GGUF, the file format of llama.cpp: metadata and (mostly quantised) tensors, little-endian, versions 2 and 3.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "engine/artifact/gguf_quants.h"
#include "engine/base/status.h"

namespace switchyard {

// All integer types (and arrays of bool) widen to int64_t, both float types to double.
using GgufValue = std::variant<bool, int64_t, double, std::string, std::vector<int64_t>, std::vector<double>, std::vector<std::string>>;

struct GgufTensor {
  std::string name;
  GgufType type = GgufType::kF32;
  std::vector<int64_t> shape;       // row-major, so the reverse of what the file writes; the last dimension is the contiguous one
  std::span<const std::byte> data;  // inside the file's mapping
  int64_t elements() const;
};

// One file, mapped read-only. Immutable after Open; thread-safe. Every count and length is checked against the bytes that are there before
// anything is allocated, so a hostile file costs memory in proportion to its own size.
class GgufFile {
 public:
  // NOT_FOUND when absent, INVALID_ARGUMENT when not a regular file, DATA_LOSS for a broken file, UNIMPLEMENTED (by name) for a version,
  // type or quantisation not supported.
  static StatusOr<std::shared_ptr<const GgufFile>> Open(const std::string& path);
  // The same checks over bytes in memory; `name` stands for the path in messages.
  static StatusOr<std::shared_ptr<const GgufFile>> Parse(std::shared_ptr<const std::string> bytes, const std::string& name);

  const std::string& path() const { return path_; }
  uint32_t version() const { return version_; }
  const std::map<std::string, GgufValue>& metadata() const { return metadata_; }
  const std::map<std::string, GgufTensor>& tensors() const { return tensors_; }

  // Typed access. NOT_FOUND names file and key; DATA_LOSS when the key has another type.
  StatusOr<std::string> GetString(const std::string& key) const;
  StatusOr<int64_t> GetInt(const std::string& key) const;
  StatusOr<double> GetNumber(const std::string& key) const;  // integers too
  StatusOr<std::vector<std::string>> GetStrings(const std::string& key) const;
  StatusOr<std::vector<int64_t>> GetInts(const std::string& key) const;
  bool Has(const std::string& key) const { return metadata_.count(key) != 0; }
  // The same for keys that may be absent: nullopt then; a wrong type is still DATA_LOSS.
  StatusOr<std::optional<int64_t>> FindInt(const std::string& key) const;
  StatusOr<std::optional<double>> FindNumber(const std::string& key) const;
  StatusOr<std::optional<std::string>> FindString(const std::string& key) const;

 private:
  friend class GgufParser;
  std::string path_;
  uint32_t version_ = 0;
  std::map<std::string, GgufValue> metadata_;
  std::map<std::string, GgufTensor> tensors_;
  std::shared_ptr<const void> owner_;  // keeps the bytes alive
};

}  // namespace switchyard
