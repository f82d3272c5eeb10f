#include "engine/text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "nlohmann/json.hpp"

namespace switchyard {
namespace {

using ::testing::HasSubstr;

const std::string kGolden = "tests/text/golden/";

std::shared_ptr<const Tokenizer> Smollm() {
  auto loaded = Tokenizer::Load(kGolden + "smollm");
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return *loaded;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(TokenizerTest, InvalidUtf8IsRefusedWithItsPosition) {
  auto tokenizer = Smollm();
  for (const std::string& bad :
       {std::string("abc\xff"), std::string("abc\xe2\x82"), std::string("abc\xed\xa0\x80"), std::string("abc\xc0\x80 d")}) {
    auto ids = tokenizer->Encode(bad, true);
    EXPECT_EQ(ids.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(Message(ids.status())), HasSubstr("not valid UTF-8 at byte 3"));
    EXPECT_FALSE(tokenizer->EncodeWithOffsets(bad, true).ok());
  }
}

TEST(TokenizerTest, EmptyTextAndZeroBytesAreFine) {
  auto tokenizer = Smollm();
  EXPECT_TRUE(tokenizer->Encode("", true)->empty());
  const std::string zeros("a\0b", 3);
  EXPECT_EQ(*tokenizer->Decode(*tokenizer->Encode(zeros, true), false), zeros);
}

TEST(TokenizerTest, EveryDigitIsATokenWithDigitsSplit) {
  auto tokenizer = Smollm();
  auto ids = tokenizer->Encode("2024", false);
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(ids->size(), 4u);
}

TEST(TokenizerTest, VocabularyAndSpecialTokens) {
  auto tokenizer = Smollm();
  const std::optional<int32_t> end = tokenizer->TokenToId("<|im_end|>");
  ASSERT_TRUE(end.has_value());
  EXPECT_LT(*end, tokenizer->vocab_size());
  EXPECT_EQ(*tokenizer->Encode("<|im_end|>", true), std::vector<int32_t>{*end});
  EXPECT_EQ(*tokenizer->Decode({*end}, /*skip_special_tokens=*/true), "");
  EXPECT_FALSE(tokenizer->TokenToId("no such token").has_value());
  EXPECT_FALSE(tokenizer->TokenToId("\xff").has_value());
}

TEST(TokenizerTest, TokensOutsideTheVocabulary) {
  auto tokenizer = Smollm();
  EXPECT_EQ(*tokenizer->Decode({1'000'000}, false), "");
  EXPECT_EQ(tokenizer->Decode({-1}, false).status().code(), absl::StatusCode::kInvalidArgument);
  auto stream = tokenizer->NewDecodeStream(true);
  EXPECT_EQ(*stream->Step(1'000'000), "");
  EXPECT_EQ(stream->Step(-5).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(TokenizerTest, StreamGivesWholeCharactersAndFlushesTheTail) {
  auto tokenizer = Smollm();
  const std::string text = "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x9a\x80 ok";  // a joined emoji of several tokens
  const std::vector<int32_t> ids = *tokenizer->Encode(text, false);
  auto stream = tokenizer->NewDecodeStream(true);
  std::string all;
  for (int32_t id : ids) {
    const std::string part = *stream->Step(id);
    EXPECT_TRUE(nlohmann::json(part).dump().size() > 0);  // throws on half a character
    all += part;
  }
  EXPECT_EQ(all, text);
  EXPECT_EQ(*stream->Flush(), "");

  const std::vector<int32_t> rocket = *tokenizer->Encode("\xf0\x9f\x9a\x80", false);
  ASSERT_GE(rocket.size(), 2u);
  auto cut = tokenizer->NewDecodeStream(true);
  EXPECT_EQ(*cut->Step(rocket[0]), "");
  EXPECT_EQ(*cut->Flush(), "\xef\xbf\xbd");
}

TEST(TokenizerTest, StreamOfBrokenBytesStaysBoundedAndEqualsDecode) {
  auto tokenizer = Smollm();
  // The first three bytes of a four-byte character, again and again: no prefix of it is ever complete.
  std::vector<int32_t> ids;
  for (int i = 0; i < 200; ++i) {
    for (int byte : {0xf0, 0x9f, 0x9a}) {
      // GPT-2's byte alphabet: 0xf0 is itself, 0x9f and 0x9a are among the moved ones.
      const int code = byte >= 0xa1 ? byte : 256 + 33 + (byte - 0x7f + 1) - 1;
      std::string letter = {static_cast<char>(0xc0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3f))};
      const auto id = tokenizer->TokenToId(letter);
      ASSERT_TRUE(id.has_value()) << byte;
      ids.push_back(*id);
    }
  }
  auto stream = tokenizer->NewDecodeStream(true);
  std::string all;
  size_t given_early = 0;
  for (int32_t id : ids) {
    all += *stream->Step(id);
    given_early = all.size();
  }
  all += *stream->Flush();
  EXPECT_EQ(all, *tokenizer->Decode(ids, true));
  EXPECT_GT(given_early, all.size() / 2);
}

TEST(TokenizerTest, StreamOutlivesTheTokenizer) {
  auto tokenizer = Smollm();
  const std::vector<int32_t> ids = *tokenizer->Encode("the river", false);
  auto stream = tokenizer->NewDecodeStream(true);
  tokenizer.reset();
  std::string all;
  for (int32_t id : ids) all += *stream->Step(id);
  EXPECT_EQ(all + *stream->Flush(), "the river");
}

TEST(TokenizerTest, ManyThreadsEncodeAlike) {
  auto tokenizer = Smollm();
  const std::vector<std::string> texts = nlohmann::json::parse(ReadFile(kGolden + "strings.json"));
  std::vector<std::vector<std::vector<int32_t>>> results(4);
  std::vector<std::thread> threads;
  for (auto& result : results) {
    threads.emplace_back([&] {
      for (size_t i = 0; i < 400; ++i) result.push_back(tokenizer->Encode(texts[i], true).value_or(std::vector<int32_t>{-1}));
    });
  }
  for (auto& thread : threads) thread.join();
  for (size_t t = 1; t < results.size(); ++t) EXPECT_EQ(results[t], results[0]);
}

TEST(TokenizerTest, BrokenFilesAreRefused) {
  EXPECT_EQ(Tokenizer::Load("tests/text/no_such_directory").status().code(), absl::StatusCode::kNotFound);
  const std::string good = ReadFile(kGolden + "smollm/tokenizer.json");
  for (size_t size : {size_t{0}, size_t{1}, good.size() / 2, good.size() - 3}) {
    EXPECT_EQ(Tokenizer::Parse(good.substr(0, size)).status().code(), absl::StatusCode::kDataLoss) << size;
  }
  for (const char* bad : {"{}", "[]", "null", "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}", "\xff\xfe",
                          "{\"version\":\"1.0\",\"model\":{\"type\":\"NoSuchModel\"}}"}) {
    EXPECT_EQ(Tokenizer::Parse(bad).status().code(), absl::StatusCode::kDataLoss) << bad;
  }
  EXPECT_EQ(Tokenizer::Parse(std::string(100'000, '[')).status().code(), absl::StatusCode::kDataLoss);
}

TEST(TokenizerTest, APanicOfTheLibraryBecomesAnError) {
  // A continuing_subword_prefix longer than a merge's second half: the library slices beyond the string.
  auto parsed = Tokenizer::Parse(
      R"({"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,"pre_tokenizer":null,"post_processor":null,"decoder":null,)"
      R"("model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":"####","end_of_word_suffix":null,"fuse_unk":false,)"
      R"("byte_fallback":false,"ignore_merges":false,"vocab":{"a":0,"b":1,"ab":2},"merges":[["a","b"]]}})");
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(Message(parsed.status())), HasSubstr("panic"));
}

TEST(TokenizerTest, TruncationAndPaddingOfTheFileAreIgnored) {
  nlohmann::json json = nlohmann::json::parse(ReadFile(kGolden + "smollm/tokenizer.json"));
  json["truncation"] = {{"direction", "Right"}, {"max_length", 2}, {"strategy", "LongestFirst"}, {"stride", 0}};
  json["padding"] = {{"strategy", {{"Fixed", 50}}},
                     {"direction", "Right"},
                     {"pad_to_multiple_of", nullptr},
                     {"pad_id", 0},
                     {"pad_type_id", 0},
                     {"pad_token", "x"}};
  auto tokenizer = Tokenizer::Parse(json.dump());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ(*(*tokenizer)->Encode("12345", true), *Smollm()->Encode("12345", true));
}

}  // namespace
}  // namespace switchyard
