// SHA-256 of bytes, as lower-case hex: the generation of an artifact.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "engine/base/status.h"

namespace switchyard {

// Incremental. Not thread-safe.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  void Update(std::span<const std::byte> bytes);
  void Update(std::string_view text);
  std::string Hex();  // ends the digest; call once

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

std::string Sha256Hex(std::string_view text);
StatusOr<std::string> Sha256HexOfFile(const std::string& path);

}  // namespace switchyard
