#include "engine/artifact/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

namespace switchyard {
namespace fs = std::filesystem;
namespace {

Status SyncDirectory(const std::string& path) {
  const int fd = open(path.empty() ? "." : path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Internal("%s: cannot open the directory to sync it: %s", path, std::strerror(errno));
  const int result = fsync(fd);
  close(fd);
  return result == 0 ? OkStatus() : Internal("%s: cannot sync the directory: %s", path, std::strerror(errno));
}

Status WriteAll(int fd, std::span<const std::byte> bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return ResourceExhausted("%s: cannot write: %s", path, std::strerror(errno));
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return OkStatus();
}

std::string StagingName(const std::string& path) {
  const fs::path p(path);
  return (p.parent_path() / (".staging." + p.filename().string() + "." + std::to_string(getpid()))).string();
}

}  // namespace

Status WriteFileAtomically(const std::string& path, const std::vector<std::span<const std::byte>>& parts) {
  const std::string staging = StagingName(path);
  const int fd = open(staging.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return InvalidArgument("%s: cannot be written: %s", path, std::strerror(errno));
  Status status = OkStatus();
  for (const auto& part : parts) {
    if (status = WriteAll(fd, part, path); !status.ok()) break;
  }
  if (status.ok() && fsync(fd) != 0) status = ResourceExhausted("%s: cannot sync: %s", path, std::strerror(errno));
  if (close(fd) != 0 && status.ok()) status = ResourceExhausted("%s: cannot close: %s", path, std::strerror(errno));
  if (status.ok() && std::rename(staging.c_str(), path.c_str()) != 0) status = Internal("%s: cannot rename into place: %s", path, std::strerror(errno));
  if (!status.ok()) {
    unlink(staging.c_str());
    return status;
  }
  return SyncDirectory(fs::path(path).parent_path().string());
}

Status WriteFileAtomically(const std::string& path, std::string_view text) {
  return WriteFileAtomically(path, std::vector<std::span<const std::byte>>{std::as_bytes(std::span(text.data(), text.size()))});
}

StatusOr<StagedDirectory> StagedDirectory::Create(const std::string& final_path) {
  const std::string target = fs::path(final_path).lexically_normal().string();
  if (fs::exists(target)) return AlreadyExists("%s: exists already", target);
  std::error_code error;
  fs::create_directories(fs::path(target).parent_path().empty() ? fs::path(".") : fs::path(target).parent_path(), error);
  const std::string staging = StagingName(target);
  fs::remove_all(staging, error);
  if (!fs::create_directory(staging, error)) return InvalidArgument("%s: cannot be created: %s", target, error.message());
  return StagedDirectory(target, staging);
}

StagedDirectory::~StagedDirectory() {
  std::error_code ignored;
  if (!staging_.empty()) fs::remove_all(staging_, ignored);
}

Status StagedDirectory::Publish() {
  RETURN_IF_ERROR(SyncDirectory(staging_));
  if (std::rename(staging_.c_str(), final_.c_str()) != 0) return AlreadyExists("%s: cannot publish: %s", final_, std::strerror(errno));
  staging_.clear();
  return SyncDirectory(fs::path(final_).parent_path().string());
}

}  // namespace switchyard
