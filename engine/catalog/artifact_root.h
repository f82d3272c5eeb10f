// The one directory that artifacts named over the network may come from.
#pragma once

#include <string>

#include "engine/base/status.h"

namespace switchyard {

// Thread-safe: immutable. Every check is made when asked, and again at each load; a writer of the root who changes it between check and
// read is trusted not to (give the server's user read access only).
class ArtifactRoot {
 public:
  // `root` is made canonical. NOT_FOUND when it is no directory. "": nothing can be resolved.
  static StatusOr<ArtifactRoot> Open(const std::string& root);

  // The canonical path of an artifact directory below the root. INVALID_ARGUMENT for an absolute path, for "..", and when the directory or
  // any file in it is a symbolic link that leaves the root, or no regular file; NOT_FOUND when it is not there; FAILED_PRECONDITION without
  // a root.
  StatusOr<std::string> Resolve(const std::string& relative) const;
  const std::string& path() const { return root_; }

 private:
  explicit ArtifactRoot(std::string root) : root_(std::move(root)) {}
  std::string root_;
};

}  // namespace switchyard
