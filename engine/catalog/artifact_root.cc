#include "engine/catalog/artifact_root.h"

#include <filesystem>

namespace switchyard {
namespace fs = std::filesystem;
namespace {

constexpr int kMaxFiles = 1000;

bool IsBelow(const std::string& path, const std::string& root) {
  return path.size() > root.size() && path.compare(0, root.size(), root) == 0 && (root == "/" || path[root.size()] == '/');
}

Status CheckFiles(const std::string& directory, const std::string& shown, const std::string& root) {
  std::error_code error;
  int files = 0;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    if (++files > kMaxFiles) return InvalidArgument("%s: expected at most %d files", shown, kMaxFiles);
    const std::string name = entry->path().filename().string();
    const fs::path real = fs::canonical(entry->path(), error);
    if (error) return InvalidArgument("%s/%s: cannot be followed: %s", shown, name, error.message());
    if (!IsBelow(real.string(), root)) return InvalidArgument("%s/%s: a symbolic link that leaves the artifact root", shown, name);
    const fs::file_status status = fs::status(real, error);
    if (!fs::is_regular_file(status) && !fs::is_directory(status)) return InvalidArgument("%s/%s: expected a regular file", shown, name);
  }
  return error ? NotFound("%s: cannot be listed: %s", shown, error.message()) : OkStatus();
}

}  // namespace

StatusOr<ArtifactRoot> ArtifactRoot::Open(const std::string& root) {
  if (root.empty()) return ArtifactRoot("");
  std::error_code error;
  const fs::path real = fs::canonical(root, error);
  if (error || !fs::is_directory(real, error)) return NotFound("artifact root %s: expected a directory", root);
  return ArtifactRoot(real.string());
}

StatusOr<std::string> ArtifactRoot::Resolve(const std::string& relative) const {
  if (root_.empty()) return FailedPrecondition("this server has no artifact root: start it with --artifact-root DIRECTORY");
  const fs::path path(relative);
  if (relative.empty() || relative.size() > 4096 || relative.find('\0') != std::string::npos) {
    return InvalidArgument("directory: expected a path of 1 to 4096 bytes");
  }
  if (path.is_absolute()) return InvalidArgument("%s: expected a path relative to the artifact root", relative);
  for (const fs::path& part : path) {
    if (part == "..") return InvalidArgument("%s: \"..\" is not allowed", relative);
  }
  std::error_code error;
  const fs::path real = fs::canonical(fs::path(root_) / path, error);
  if (error) return NotFound("%s: not found below the artifact root: %s", relative, error.message());
  if (!IsBelow(real.string(), root_)) return InvalidArgument("%s: expected a directory below the artifact root", relative);
  if (!fs::is_directory(real, error)) return InvalidArgument("%s: expected a directory", relative);
  RETURN_IF_ERROR(CheckFiles(real.string(), relative, root_));
  return real.string();
}

}  // namespace switchyard
