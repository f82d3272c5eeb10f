#include "engine/artifact/file_system.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace switchyard {

int FileSystem::Open(const std::string& path, int flags, mode_t mode) { return open(path.c_str(), flags, mode); }
ssize_t FileSystem::Read(int fd, void* to, size_t bytes) { return read(fd, to, bytes); }
ssize_t FileSystem::Write(int fd, const void* from, size_t bytes) { return write(fd, from, bytes); }
int FileSystem::Sync(int fd) { return fsync(fd); }
int FileSystem::Close(int fd) { return close(fd); }
int FileSystem::Rename(const std::string& from, const std::string& to) { return std::rename(from.c_str(), to.c_str()); }
int FileSystem::Unlink(const std::string& path) { return unlink(path.c_str()); }

FileSystem* FileSystem::Real() {
  static FileSystem files;
  return &files;
}

StatusOr<std::string> ReadWholeFile(FileSystem& files, const std::string& path, size_t max_bytes) {
  const int fd = files.Open(path, O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0 && errno == ENOENT) return NotFound("%s: no such file", path);
  if (fd < 0) return DataLoss("%s: cannot be opened: %s", path, std::strerror(errno));
  std::string text;
  Status status = OkStatus();
  char buffer[16384];
  for (;;) {
    const ssize_t n = files.Read(fd, buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) status = DataLoss("%s: cannot be read: %s", path, std::strerror(errno));
    if (n <= 0) break;
    text.append(buffer, static_cast<size_t>(n));
    if (text.size() > max_bytes) {
      status = DataLoss("%s: expected at most %d bytes, found more", path, max_bytes);
      break;
    }
  }
  files.Close(fd);
  if (!status.ok()) return status;
  return text;
}

}  // namespace switchyard
