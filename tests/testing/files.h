// Files of tests: a directory of their own, and the folder of real data that some machines have.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace switchyard {

// A new directory, removed with everything in it.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "switchyard-test-").string() + std::string(6, 'X');
    path_ = mkdtemp(pattern.data());
  }
  ~TempDir() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  std::string File(const std::string& name) const { return (path_ / name).string(); }
  std::string Write(const std::string& name, const std::string& content) const {
    std::ofstream(File(name), std::ios::binary) << content;
    return File(name);
  }

 private:
  std::filesystem::path path_;
};

inline std::string ReadFile(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

// The folder of shared real data, or "" when there is none.
inline std::string SharedDirectory() {
  const char* set = std::getenv("SWITCHYARD_SHARED");
  const std::string path = set != nullptr ? set : "../shared";
  return std::filesystem::is_directory(path) ? path : "";
}

}  // namespace switchyard
