// A file mapped read-only. Immutable; the mapping lives until the last owner is gone.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "engine/base/status.h"

namespace switchyard {

class MappedFile {
 public:
  // NOT_FOUND when absent, INVALID_ARGUMENT when not a regular file.
  static StatusOr<std::shared_ptr<const MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(address_), size_}; }

 private:
  MappedFile(void* address, size_t size) : address_(address), size_(size) {}
  void* address_;
  size_t size_;
};

// The whole of a small text file. DATA_LOSS when it is longer than `limit_bytes`.
StatusOr<std::string> ReadSmallFile(const std::string& path, size_t limit_bytes);

}  // namespace switchyard
