#include "engine/catalog/artifact_root.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/testing/files.h"

namespace switchyard {
namespace {
namespace fs = std::filesystem;

class ArtifactRootTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(dir_.File("root/a/b"));
    fs::create_directories(dir_.File("outside"));
    dir_.Write("outside/secret", "x");
    dir_.Write("root/a/b/weights", "x");
    dir_.Write("root/file", "x");
  }
  Status Resolve(const std::string& path) {
    auto root = ArtifactRoot::Open(dir_.File("root"));
    EXPECT_TRUE(root.ok());
    return root->Resolve(path).status();
  }
  TempDir dir_;
};

TEST_F(ArtifactRootTest, DirectoriesBelowTheRootResolve) {
  const auto root = ArtifactRoot::Open(dir_.File("root"));
  EXPECT_EQ(*root->Resolve("a/b"), fs::canonical(dir_.File("root/a/b")).string());
  EXPECT_EQ(*root->Resolve("./a//b/"), fs::canonical(dir_.File("root/a/b")).string());
}

TEST_F(ArtifactRootTest, LinksInsideTheRootAreFollowed) {
  fs::create_directory_symlink("a/b", dir_.File("root/link"));
  fs::create_symlink("../../file", dir_.File("root/a/b/shared"));
  EXPECT_TRUE(Resolve("link").ok());
}

TEST_F(ArtifactRootTest, EverythingThatLeavesTheRootIsRefused) {
  fs::create_directory_symlink("../outside", dir_.File("root/out"));
  fs::create_directories(dir_.File("root/sly"));
  fs::create_symlink("../../outside/secret", dir_.File("root/sly/weights"));
  fs::create_directory_symlink("..", dir_.File("root/up"));
  for (const std::string& path : {std::string("../outside"), std::string("a/../../outside"), std::string("a/../a"), dir_.File("root/a"),
                                  std::string(""), std::string("."), std::string("out"), std::string("sly"), std::string("up"),
                                  std::string("file"), std::string("a\0b", 3), std::string(5000, 'x')}) {
    EXPECT_EQ(Resolve(path).code(), absl::StatusCode::kInvalidArgument) << path;
  }
  EXPECT_EQ(Resolve("none").code(), absl::StatusCode::kNotFound);
}

TEST_F(ArtifactRootTest, WhatIsNoRegularFileIsRefused) {
  ASSERT_EQ(mkfifo(dir_.File("root/a/b/pipe").c_str(), 0600), 0);
  EXPECT_EQ(Resolve("a/b").code(), absl::StatusCode::kInvalidArgument) << "reading a pipe would wait for ever";
}

TEST_F(ArtifactRootTest, WithoutARootNothingResolves) {
  EXPECT_EQ(ArtifactRoot::Open("")->Resolve("a").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ArtifactRoot::Open(dir_.File("none")).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace switchyard
