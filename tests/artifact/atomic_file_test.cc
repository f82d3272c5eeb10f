#include "engine/artifact/atomic_file.h"

#include <fcntl.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/files.h"

namespace switchyard {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

// Counts the calls that can fail; the n-th of them fails.
class FailingFiles final : public FileSystem {
 public:
  explicit FailingFiles(int failing) : failing_(failing) {}
  int Open(const std::string& path, int flags, mode_t mode) override {
    if (Fails()) return -1;
    opened.push_back(path);
    return FileSystem::Open(path, flags, mode);
  }
  int Sync(int fd) override { return Fails() ? -1 : FileSystem::Sync(fd); }
  int Rename(const std::string& from, const std::string& to) override { return Fails() ? -1 : FileSystem::Rename(from, to); }
  int calls() const { return calls_; }
  std::vector<std::string> opened;

 private:
  bool Fails() {
    errno = ENOSPC;
    return ++calls_ == failing_;
  }
  const int failing_;
  int calls_ = 0;
};

// A file, and a directory with another.
StagedDirectory Stage(const std::string& path) {
  auto staged = StagedDirectory::Create(path);
  EXPECT_TRUE(staged.ok()) << staged.status();
  std::ofstream(staged->path() + "/tensors") << "t";
  fs::create_directory(staged->path() + "/experts");
  std::ofstream(staged->path() + "/experts/law") << "l";
  return *std::move(staged);
}

TEST(StagedDirectoryTest, EverythingInItIsSyncedBeforeItIsPublished) {
  TempDir dir;
  FailingFiles files(0);
  StagedDirectory staged = Stage(dir.File("router"));
  const std::string staging = staged.path();
  ASSERT_TRUE(staged.Publish(&files).ok());
  EXPECT_THAT(files.opened, UnorderedElementsAre(staging + "/tensors", staging + "/experts", staging + "/experts/law", staging,
                                                 fs::path(staging).parent_path().string()));
  EXPECT_TRUE(fs::exists(dir.File("router/experts/law")));
}

TEST(StagedDirectoryTest, ADiskThatFailsLeavesAllOrNothing) {
  TempDir counted;
  FailingFiles count(0);
  ASSERT_TRUE(Stage(counted.File("router")).Publish(&count).ok());
  for (int failing = 1; failing <= count.calls(); ++failing) {
    SCOPED_TRACE(failing);
    TempDir dir;
    FailingFiles files(failing);
    Status status;
    {
      StagedDirectory staged = Stage(dir.File("router"));
      status = staged.Publish(&files);
    }
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(Message(status)), HasSubstr("No space left on device"));
    std::vector<std::string> left;
    for (const auto& entry : fs::directory_iterator(dir.File(""))) left.push_back(entry.path().filename().string());
    if (failing + 2 > count.calls()) {  // opening and syncing the parent
      EXPECT_THAT(left, UnorderedElementsAre("router"));
      EXPECT_THAT(std::string(Message(status)), HasSubstr("may not outlive a power cut"));
    } else {
      EXPECT_TRUE(left.empty()) << left.front();
    }
  }
}

TEST(StagedDirectoryTest, WhatAppearedMeanwhileIsNotOverwritten) {
  TempDir dir;
  StagedDirectory staged = Stage(dir.File("router"));
  fs::create_directory(dir.File("router"));
  std::ofstream(dir.File("router/other")) << "o";
  EXPECT_EQ(staged.Publish().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(fs::exists(dir.File("router/other")));
}

}  // namespace
}  // namespace switchyard
