// The desired state on disk: one JSON file, written whole (docs/formats.md has its fields).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/artifact/file_system.h"
#include "engine/base/status.h"
#include "engine/catalog/content.h"

namespace switchyard {

struct PastContent {
  uint64_t revision = 0;
  CatalogContent content;
};

struct DesiredState {
  uint64_t revision = 0;
  std::string base_generation;
  CatalogContent content;
  std::vector<PastContent> history;  // oldest first, revisions rising
};

inline constexpr size_t kMaxStateBytes = size_t{16} << 20;
inline constexpr size_t kMaxHistory = 32;

std::string StateText(const DesiredState& state);
// DATA_LOSS naming `where`, the field, what was expected and what was found; UNIMPLEMENTED for another format_version or an unknown field.
StatusOr<DesiredState> ParseState(std::string_view text, const std::string& where);

// NOT_FOUND when there is no file yet.
StatusOr<DesiredState> ReadState(FileSystem& files, const std::string& path);
// When it returns OK the state outlives a power cut. On error the file holds what it held before, or the message says that it may not.
Status WriteState(FileSystem& files, const std::string& path, const DesiredState& state);

}  // namespace switchyard
