// Directories, damaged files and status checks for the tests of the artifact room.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "engine/artifact/tensor_view.h"
#include "engine/base/status.h"

namespace switchyard {

// A fresh directory, removed at the end of the test.
class TempDirectory {
 public:
  TempDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "artifact_test.XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~TempDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline void WriteText(const std::string& path, const std::string& text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

inline std::string ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A safetensors file with this header and these data bytes, right or wrong.
inline std::string RawSafetensors(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header + data;
}

inline TensorView FloatTensor(const std::string& name, std::vector<int64_t> shape, const std::vector<float>& values) {
  auto copy = std::make_shared<std::vector<float>>(values);
  return {name, DType::kF32, std::move(shape), std::as_bytes(std::span(*copy)), copy};
}

// The status has `code`, and its message holds every one of `parts`.
inline void ExpectRefused(const Status& status, absl::StatusCode code, const std::vector<std::string>& parts) {
  EXPECT_EQ(status.code(), code) << status;
  for (const std::string& part : parts) EXPECT_THAT(std::string(Message(status)), testing::HasSubstr(part));
}

}  // namespace switchyard
