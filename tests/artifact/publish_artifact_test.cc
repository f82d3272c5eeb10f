#include "engine/artifact/publish_artifact.h"

#include <filesystem>

#include "engine/artifact/router_artifact.h"
#include "tests/artifact/artifact_testing.h"

namespace switchyard {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class PublishArtifactTest : public ::testing::Test {
 protected:
  PublishArtifactTest() { fs::create_directories(root_); }
  // An adapter of one tensor; its config is what a test makes of it.
  void WriteExpert(const std::string& config) {
    WriteText(expert_ + "/adapter_config.json", config);
    EXPECT_TRUE(WriteSafetensors(expert_ + "/adapter_model.safetensors", {FloatTensor("a", {2}, {1, 2})}, {}).ok());
  }
  void ExpectRefused(const std::string& source, absl::StatusCode code, const std::string& why) {
    const auto published = PublishArtifact(source, root_ + "/new");
    EXPECT_EQ(published.status().code(), code) << published.status();
    EXPECT_THAT(std::string(Message(published.status())), HasSubstr(why));
    EXPECT_TRUE(fs::is_empty(root_)) << "something was left in the root";
  }
  const std::string config_ = R"({"peft_type":"LORA","r":2,"lora_alpha":4,"target_modules":["up_proj"]})";
  TempDirectory dir_;
  const std::string root_ = dir_ / "root", expert_ = dir_ / "expert";
};

TEST_F(PublishArtifactTest, AnExpertArrivesWholeWithItsLinksFollowed) {
  WriteExpert(config_);
  WriteText(dir_ / "cache/README.md", "about");
  fs::create_symlink(dir_ / "cache/README.md", expert_ + "/README.md");
  WriteText(expert_ + "/checkpoint-1/optimizer.pt", "not wanted");
  const auto published = PublishArtifact(expert_, root_ + "/law");
  ASSERT_TRUE(published.ok()) << published.status();
  EXPECT_EQ(published->kind, "expert");
  EXPECT_EQ(published->files, 3);
  EXPECT_EQ(published->bytes, static_cast<int64_t>(config_.size() + 5 + fs::file_size(expert_ + "/adapter_model.safetensors")));
  EXPECT_EQ(ReadText(root_ + "/law/adapter_config.json"), config_);
  EXPECT_FALSE(fs::is_symlink(root_ + "/law/README.md"));
  EXPECT_FALSE(fs::exists(root_ + "/law/checkpoint-1"));
  EXPECT_EQ(PublishArtifact(expert_, root_ + "/law").status().code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(PublishArtifactTest, ARouterKeepsItsGeneration) {
  RouterManifest manifest;
  manifest.name = "r";
  manifest.kind = "linear";
  manifest.weight_mode = "renorm";
  manifest.base_generation = std::string(64, 'a');
  manifest.num_layers = 1;
  manifest.hidden_size = 2;
  manifest.experts = {{"law", std::string(64, 'b'), false}, {"zero", "zero", true}};
  ASSERT_TRUE(WriteRouterArtifact(dir_ / "router", manifest, {FloatTensor("layers.0.router.weight", {2, 2}, {1, 2, 3, 4})}).ok());
  const auto published = PublishArtifact(dir_ / "router", root_ + "/router-1");
  ASSERT_TRUE(published.ok()) << published.status();
  EXPECT_EQ(published->kind, "router");
  EXPECT_EQ(published->generation, ReadRouterArtifact(dir_ / "router")->generation);
  EXPECT_EQ(published->generation, ReadRouterArtifact(root_ + "/router-1")->generation);
}

TEST_F(PublishArtifactTest, WhatIsNoArtifactLeavesNothingBehind) {
  ExpectRefused(dir_ / "nowhere", absl::StatusCode::kNotFound, "nowhere");
  WriteText(dir_ / "notes/README.md", "text");
  ExpectRefused(dir_ / "notes", absl::StatusCode::kInvalidArgument, "found neither");
  WriteExpert("{");
  ExpectRefused(expert_, absl::StatusCode::kDataLoss, expert_ + "/adapter_config.json");
  WriteExpert(config_);
  WriteText(expert_ + "/adapter_model.safetensors", "torn");
  ExpectRefused(expert_, absl::StatusCode::kDataLoss, "adapter_model.safetensors");
  fs::remove(expert_ + "/adapter_model.safetensors");
  fs::create_symlink(dir_ / "gone", expert_ + "/adapter_model.safetensors");
  ExpectRefused(expert_, absl::StatusCode::kInvalidArgument, "dangling link");
}

}  // namespace
}  // namespace switchyard
