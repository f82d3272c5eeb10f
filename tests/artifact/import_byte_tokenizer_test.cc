#include "engine/artifact/import_byte_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "engine/text/tokenizer.h"

namespace switchyard {
namespace {

class ByteTokenizerTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = testing::TempDir() + "/byte_tokenizer_XXXXXX";
    ASSERT_NE(mkdtemp(directory_.data()), nullptr);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::string directory_;
};

TEST_F(ByteTokenizerTest, EveryByteSequenceComesBackAndPairsAreOneToken) {
  ASSERT_TRUE(WriteByteTokenizer(directory_, 49152, 8192).ok());
  auto tokenizer = Tokenizer::Load(directory_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocab_size(), 49152);
  std::string text;
  for (int c = 0; c < 0x800; ++c) {
    if (c < 0x80) {
      text += static_cast<char>(c);
    } else {
      text += {static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 0x3f))};
    }
  }
  EXPECT_EQ(*(*tokenizer)->Decode(*(*tokenizer)->Encode(text, true), true), text);
  EXPECT_EQ((*tokenizer)->Encode("abcd", true)->size(), 2u);
  EXPECT_EQ(*(*tokenizer)->TokenToId("<|im_end|>"), 2);
}

TEST_F(ByteTokenizerTest, SmallAndLargeVocabularies) {
  EXPECT_EQ(WriteByteTokenizer(directory_, 258, 64).code(), absl::StatusCode::kInvalidArgument);
  for (auto [vocabulary, expected] : {std::pair<int64_t, int32_t>{259, 259}, {300, 300}, {200'000, 259 + 65536}}) {
    ASSERT_TRUE(WriteByteTokenizer(directory_, vocabulary, 64).ok());
    auto tokenizer = Tokenizer::Load(directory_);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    EXPECT_EQ((*tokenizer)->vocab_size(), expected);
  }
}

TEST_F(ByteTokenizerTest, HasAChatTemplate) {
  ASSERT_TRUE(WriteByteTokenizer(directory_, 300, 64).ok());
  auto chat = ChatTemplate::Load(directory_);
  ASSERT_TRUE(chat.ok()) << chat.status();
  EXPECT_EQ(*(*chat)->Render({{"user", "hi"}}, true), "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
}

}  // namespace
}  // namespace switchyard
