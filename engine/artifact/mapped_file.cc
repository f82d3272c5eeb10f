#include "engine/artifact/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace switchyard {
namespace {
struct Descriptor {
  int fd = -1;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
};

StatusOr<size_t> OpenRegular(const std::string& path, Descriptor* out) {
  out->fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (out->fd < 0) {
    return errno == ENOENT ? NotFound("%s: no such file", path) : InvalidArgument("%s: cannot be opened: %s", path, std::strerror(errno));
  }
  struct stat info;
  if (fstat(out->fd, &info) != 0) return InvalidArgument("%s: %s", path, std::strerror(errno));
  if (!S_ISREG(info.st_mode)) return InvalidArgument("%s: expected a regular file", path);
  return static_cast<size_t>(info.st_size);
}
}  // namespace

StatusOr<std::shared_ptr<const MappedFile>> MappedFile::Open(const std::string& path) {
  Descriptor file;
  ASSIGN_OR_RETURN(const size_t size, OpenRegular(path, &file));
  void* address = nullptr;
  if (size > 0) {
    address = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
    if (address == MAP_FAILED) return ResourceExhausted("%s: cannot map %d bytes: %s", path, size, std::strerror(errno));
  }
  return std::shared_ptr<const MappedFile>(new MappedFile(address, size));
}

MappedFile::~MappedFile() {
  if (address_ != nullptr) munmap(address_, size_);
}

StatusOr<std::string> ReadSmallFile(const std::string& path, size_t limit_bytes) {
  Descriptor file;
  ASSIGN_OR_RETURN(const size_t size, OpenRegular(path, &file));
  if (size > limit_bytes) return DataLoss("%s: %d bytes, expected at most %d", path, size, limit_bytes);
  std::string text(size, '\0');
  size_t at = 0;
  while (at < size) {
    const ssize_t n = read(file.fd, text.data() + at, size - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return DataLoss("%s: read %d of %d bytes", path, at, size);
    at += static_cast<size_t>(n);
  }
  return text;
}

}  // namespace switchyard
