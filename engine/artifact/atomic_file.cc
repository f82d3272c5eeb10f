#include "engine/artifact/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace switchyard {
namespace fs = std::filesystem;
namespace {

Status SyncDirectory(const std::string& path, FileSystem* files) {
  const int fd = files->Open(path.empty() ? "." : path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (fd < 0) return Internal("%s: cannot open the directory to sync it: %s", path, std::strerror(errno));
  const int result = files->Sync(fd);
  const int error = errno;
  files->Close(fd);
  return result == 0 ? OkStatus() : Internal("%s: cannot sync the directory: %s", path, std::strerror(error));
}

Status SyncFile(const std::string& path, FileSystem* files) {
  const int fd = files->Open(path, O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) return Internal("%s: cannot open the file to sync it: %s", path, std::strerror(errno));
  const int result = files->Sync(fd);
  const int error = errno;
  files->Close(fd);
  return result == 0 ? OkStatus() : ResourceExhausted("%s: cannot sync: %s", path, std::strerror(error));
}

// Everything below `directory`, and it.
Status SyncTree(const std::string& directory, FileSystem* files) {
  std::error_code error;
  for (fs::recursive_directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->is_symlink()) continue;
    if (entry->is_directory()) RETURN_IF_ERROR(SyncDirectory(entry->path().string(), files));
    if (entry->is_regular_file()) RETURN_IF_ERROR(SyncFile(entry->path().string(), files));
  }
  if (error) return Internal("%s: cannot be listed: %s", directory, error.message());
  return SyncDirectory(directory, files);
}

Status WriteAll(FileSystem* files, int fd, std::span<const std::byte> bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = files->Write(fd, bytes.data(), bytes.size());
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

Status WriteFileAtomically(const std::string& path, const std::vector<std::span<const std::byte>>& parts, FileSystem* files) {
  const std::string staging = StagingName(path);
  const int fd = files->Open(staging, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return InvalidArgument("%s: cannot be written: %s", path, std::strerror(errno));
  Status status = OkStatus();
  for (const auto& part : parts) {
    if (status = WriteAll(files, fd, part, path); !status.ok()) break;
  }
  if (status.ok() && files->Sync(fd) != 0) status = ResourceExhausted("%s: cannot sync: %s", path, std::strerror(errno));
  if (files->Close(fd) != 0 && status.ok()) status = ResourceExhausted("%s: cannot close: %s", path, std::strerror(errno));
  if (status.ok() && files->Rename(staging, path) != 0) status = Internal("%s: cannot rename into place: %s", path, std::strerror(errno));
  if (!status.ok()) {
    files->Unlink(staging);
    return status;
  }
  return SyncDirectory(fs::path(path).parent_path().string(), files);
}

Status WriteFileAtomically(const std::string& path, std::string_view text, FileSystem* files) {
  return WriteFileAtomically(path, std::vector<std::span<const std::byte>>{std::as_bytes(std::span(text.data(), text.size()))}, files);
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

Status StagedDirectory::Publish(FileSystem* files) {
  RETURN_IF_ERROR(SyncTree(staging_, files));
  if (files->Rename(staging_, final_) != 0) {
    if (errno == EEXIST || errno == ENOTEMPTY || errno == ENOTDIR) return AlreadyExists("%s: exists already", final_);
    return Internal("%s: cannot rename into place: %s", final_, std::strerror(errno));
  }
  staging_.clear();
  const Status synced = SyncDirectory(fs::path(final_).parent_path().string(), files);
  if (!synced.ok()) return Internal("%s: published, but it may not outlive a power cut: %s", final_, std::string(Message(synced)));
  return OkStatus();
}

}  // namespace switchyard
