// The few system calls that writing a file for good needs, so that tests can make each of them fail.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string>

#include "engine/base/status.h"

namespace switchyard {

// The contracts of the system calls of these names: -1 and errno on failure; Read and Write may do less than they are asked. Thread-safe.
class FileSystem {
 public:
  virtual ~FileSystem() = default;
  virtual int Open(const std::string& path, int flags, mode_t mode);
  virtual ssize_t Read(int fd, void* to, size_t bytes);
  virtual ssize_t Write(int fd, const void* from, size_t bytes);
  virtual int Sync(int fd);
  virtual int Close(int fd);
  virtual int Rename(const std::string& from, const std::string& to);
  virtual int Unlink(const std::string& path);

  // The machine's own; lives for ever.
  static FileSystem* Real();
};

// The whole file, read until its end however short the reads are. NOT_FOUND when there is none; DATA_LOSS when it has more than `max_bytes`
// or cannot be read.
StatusOr<std::string> ReadWholeFile(FileSystem& files, const std::string& path, size_t max_bytes);

}  // namespace switchyard
