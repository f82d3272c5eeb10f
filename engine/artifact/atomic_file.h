// Publishing files and directories whole or not at all: write beside the target, sync, rename, sync the directory.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "engine/artifact/file_system.h"
#include "engine/base/status.h"

namespace switchyard {

// Concatenates `parts` into `path`. On error `path` is what it was and nothing is left beside it; only when the very last call fails,
// syncing the directory, the new file is there already and the error says that it may not outlive a power cut.
Status WriteFileAtomically(const std::string& path, const std::vector<std::span<const std::byte>>& parts,
                           FileSystem* files = FileSystem::Real());
Status WriteFileAtomically(const std::string& path, std::string_view text, FileSystem* files = FileSystem::Real());

// A directory being prepared beside its final name. Publish() makes it durable and renames it; otherwise the destructor removes it.
class StagedDirectory {
 public:
  static StatusOr<StagedDirectory> Create(const std::string& final_path);  // ALREADY_EXISTS when the final path is there
  StagedDirectory(StagedDirectory&& other) noexcept : final_(std::move(other.final_)), staging_(std::move(other.staging_)) {
    other.staging_.clear();
  }
  ~StagedDirectory();
  const std::string& path() const { return staging_; }
  // Syncs every file and directory in it, however they were written, renames it, and syncs the parent. On error nothing is at the final
  // path and the destructor cleans up; only when the last call fails, syncing the parent, the directory is there already and the error
  // says that it may not outlive a power cut. ALREADY_EXISTS when the final path is there by now; RESOURCE_EXHAUSTED, INTERNAL: the disk.
  Status Publish(FileSystem* files = FileSystem::Real());

 private:
  StagedDirectory(std::string final_path, std::string staging) : final_(std::move(final_path)), staging_(std::move(staging)) {}
  std::string final_, staging_;
};

}  // namespace switchyard
