// What the client's tests share: a directory of their own, a terminal that writes into strings, a retry policy that does not wait.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/retry.h"
#include "client/terminal.h"
#include "gtest/gtest.h"

namespace switchyard::client {

// A new directory, removed with everything in it.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "switchyard-client-").string() + std::string(6, 'X');
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

inline std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// A terminal without colours whose output can be read.
struct StringTerminal {
  std::ostringstream out, err;
  Terminal terminal{out, err};
};

// Counts its waits instead of waiting.
struct FakeWait {
  std::vector<absl::Duration> waits;
  RetryPolicy Policy(int retries) {
    RetryPolicy policy;
    policy.retries = retries;
    policy.sleep = [this](absl::Duration wait) { waits.push_back(wait); };
    return policy;
  }
};

// The folder of shared real data, or "" when there is none.
inline std::string SharedDirectory() {
  const char* set = std::getenv("SWITCHYARD_SHARED");
  const std::string path = set != nullptr ? set : "../shared";
  return std::filesystem::is_directory(path) ? path : "";
}

}  // namespace switchyard::client
