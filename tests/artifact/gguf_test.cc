#include "engine/artifact/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>

#include "tests/artifact/gguf_builder.h"

namespace switchyard {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing_gguf::GgufBuilder;
using testing_gguf::Raw;
using testing_gguf::Text;
using Code = absl::StatusCode;

StatusOr<std::shared_ptr<const GgufFile>> Parse(const std::string& bytes) {
  return GgufFile::Parse(std::make_shared<const std::string>(bytes), "test.gguf");
}

void ExpectRefused(const GgufBuilder& builder, Code code, const std::string& message) {
  auto file = Parse(builder.Build());
  EXPECT_EQ(file.status().code(), code) << file.status() << ", expected: " << message;
  EXPECT_THAT(std::string(Message(file.status())), HasSubstr(message));
  EXPECT_THAT(std::string(Message(file.status())), HasSubstr("test.gguf"));
}

const std::string kRow(128, '\x01');  // 32 floats

TEST(GgufTest, ReadsEveryMetadataType) {
  GgufBuilder b;
  b.Value("u8", 0, Raw<uint8_t>(200))
      .Value("i8", 1, Raw<int8_t>(-100))
      .Value("u16", 2, Raw<uint16_t>(60000))
      .Value("i16", 3, Raw<int16_t>(-30000));
  b.U32("u32", 4'000'000'000u).Value("i32", 5, Raw<int32_t>(-5)).F32("f32", 0.5f).Bool("yes", true).Str("text", std::string("a\0b", 3));
  b.Value("u64", 10, Raw<uint64_t>(1ull << 62)).Value("i64", 11, Raw<int64_t>(-1)).Value("f64", 12, Raw<double>(0.1));
  b.Strs("names", {"x", "", "yz"})
      .I32s("numbers", {1, -2})
      .Value("flags", 9, Raw<uint32_t>(7) + Raw<uint64_t>(2) + std::string("\x01\x00", 2));
  b.Value("floats", 9, Raw<uint32_t>(6) + Raw<uint64_t>(1) + Raw<float>(1.5f)).Value("none", 9, Raw<uint32_t>(4) + Raw<uint64_t>(0));
  for (uint32_t version : {2u, 3u}) {
    b.version = version;
    auto parsed = Parse(b.Build());
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    const GgufFile& file = **parsed;
    EXPECT_EQ(file.version(), version);
    EXPECT_EQ(*file.GetInt("u8"), 200);
    EXPECT_EQ(*file.GetInt("i8"), -100);
    EXPECT_EQ(*file.GetInt("u16"), 60000);
    EXPECT_EQ(*file.GetInt("i16"), -30000);
    EXPECT_EQ(*file.GetInt("u32"), 4'000'000'000);
    EXPECT_EQ(*file.GetInt("i32"), -5);
    EXPECT_EQ(*file.GetNumber("f32"), 0.5);
    EXPECT_EQ(*file.GetNumber("i32"), -5.0);
    EXPECT_TRUE(std::get<bool>(file.metadata().at("yes")));
    EXPECT_EQ(*file.GetString("text"), std::string("a\0b", 3));
    EXPECT_EQ(*file.GetInt("u64"), int64_t{1} << 62);
    EXPECT_EQ(*file.GetInt("i64"), -1);
    EXPECT_EQ(*file.GetNumber("f64"), 0.1);
    EXPECT_THAT(*file.GetStrings("names"), ElementsAre("x", "", "yz"));
    EXPECT_THAT(*file.GetInts("numbers"), ElementsAre(1, -2));
    EXPECT_THAT(*file.GetInts("flags"), ElementsAre(1, 0));
    EXPECT_THAT(std::get<std::vector<double>>(file.metadata().at("floats")), ElementsAre(1.5));
    EXPECT_TRUE(file.GetInts("none")->empty());

    EXPECT_EQ(file.GetInt("absent").status().code(), Code::kNotFound);
    EXPECT_EQ(file.GetInt("text").status().code(), Code::kDataLoss);
    EXPECT_FALSE(file.FindInt("absent")->has_value());
    EXPECT_EQ(file.FindNumber("text").status().code(), Code::kDataLoss);
  }
}

TEST(GgufTest, ReadsTensorsWithShapesReversed) {
  GgufBuilder b;
  b.F32Tensor("matrix", {2, 3}, {1, 2, 3, 4, 5, 6})
      .F32Tensor("vector", {3}, {7, 8, 9})
      .Tensor("quantised", {64, 2}, 2, std::string(2 * 2 * 18, '\0'));
  auto parsed = Parse(b.Build());
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const GgufTensor& matrix = (*parsed)->tensors().at("matrix");
  EXPECT_THAT(matrix.shape, ElementsAre(3, 2));
  EXPECT_EQ(matrix.elements(), 6);
  std::vector<float> values(6);
  Dequantize(matrix.type, matrix.data, values);
  EXPECT_THAT(values, ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT((*parsed)->tensors().at("vector").shape, ElementsAre(3));
  EXPECT_EQ((*parsed)->tensors().at("quantised").data.size(), 72u);
}

TEST(GgufTest, AlignmentOfTheFileIsHonoured) {
  GgufBuilder b;
  b.alignment = 128;
  b.U32("general.alignment", 128).F32Tensor("a", {1}, {3}).F32Tensor("b", {1}, {4});
  auto parsed = Parse(b.Build());
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  float value = 0;
  Dequantize(GgufType::kF32, (*parsed)->tensors().at("b").data, {&value, 1});
  EXPECT_EQ(value, 4);
}

TEST(GgufTest, DamagedHeadersAreRefused) {
  GgufBuilder b;
  b.magic = 0x12345678;
  ExpectRefused(b, Code::kDataLoss, "not a GGUF file");
  b = {};
  b.version = 1;
  ExpectRefused(b, Code::kUnimplemented, "GGUF version 1");
  b.version = 4;
  ExpectRefused(b, Code::kUnimplemented, "GGUF version 4");
  b.version = 0x03000000;
  ExpectRefused(b, Code::kUnimplemented, "big-endian");
  b = {};
  b.tensor_count = 1ull << 60;
  ExpectRefused(b, Code::kDataLoss, "tensors cannot fit");
  b = {};
  b.value_count = ~0ull;
  ExpectRefused(b, Code::kDataLoss, "metadata entries cannot fit");
}

TEST(GgufTest, DamagedMetadataIsRefused) {
  const std::string padding(64, '\0');
  ExpectRefused(GgufBuilder().U32("k", 1).U32("k", 2), Code::kDataLoss, "\"k\" appears twice");
  ExpectRefused(GgufBuilder().Value("k", 13, padding), Code::kDataLoss, "unknown type 13");
  ExpectRefused(GgufBuilder().Value("k", 7, Raw<uint8_t>(2)), Code::kDataLoss, "a bool of value 2");
  ExpectRefused(GgufBuilder().Value("k", 10, Raw<uint64_t>(~0ull)), Code::kDataLoss, "too large");
  ExpectRefused(GgufBuilder().Value("k", 8, Raw<uint64_t>(1ull << 40) + padding), Code::kDataLoss, "bytes at byte");
  ExpectRefused(GgufBuilder().Value("k", 9, Raw<uint32_t>(8) + Raw<uint64_t>(1ull << 61) + padding), Code::kDataLoss,
                "elements cannot fit");
  ExpectRefused(GgufBuilder().Value("k", 9, Raw<uint32_t>(99) + Raw<uint64_t>(1)), Code::kDataLoss, "array of the unknown type 99");
  ExpectRefused(GgufBuilder().Value("k", 9, Raw<uint32_t>(9) + Raw<uint64_t>(0) + padding), Code::kUnimplemented, "arrays of arrays");
  ExpectRefused(GgufBuilder().Value(std::string(5000, 'k'), 4, Raw<uint32_t>(1)), Code::kDataLoss, "a metadata key of 5000 bytes");
  for (uint32_t alignment : {0u, 1u, 4u, 33u, 96u, 1u << 30}) {
    ExpectRefused(GgufBuilder().U32("general.alignment", alignment), Code::kDataLoss, "expected a power of two");
  }
  ExpectRefused(GgufBuilder().Str("general.alignment", "32"), Code::kDataLoss, "not an integer");
}

TEST(GgufTest, DamagedTensorsAreRefused) {
  ExpectRefused(GgufBuilder().Tensor("t", {32}, 0, kRow).Tensor("t", {32}, 0, kRow), Code::kDataLoss, "tensor \"t\" appears twice");
  ExpectRefused(GgufBuilder().Tensor("t", {}, 0, kRow), Code::kDataLoss, "has 0 dimensions");
  ExpectRefused(GgufBuilder().Tensor("t", {2, 2, 2, 2, 2}, 0, kRow), Code::kDataLoss, "has 5 dimensions");
  ExpectRefused(GgufBuilder().Tensor("t", {0, 4}, 0, kRow), Code::kDataLoss, "dimension 0 of size 0");
  ExpectRefused(GgufBuilder().Tensor("t", {1ull << 33, 1ull << 33}, 0, kRow), Code::kDataLoss, "cannot be in a file");
  ExpectRefused(GgufBuilder().Tensor("t", {64, ~0ull}, 0, kRow), Code::kDataLoss, "cannot be in a file");
  ExpectRefused(GgufBuilder().Tensor("t", {33}, 0, kRow), Code::kDataLoss, "needs bytes 0 to 132");
  ExpectRefused(GgufBuilder().Tensor("t", {32}, 0, kRow, 32), Code::kDataLoss, "needs bytes 32 to 160");
  ExpectRefused(GgufBuilder().Tensor("t", {32}, 0, kRow, ~0ull - 31), Code::kDataLoss, "needs bytes");
  ExpectRefused(GgufBuilder().Tensor("t", {32}, 0, kRow, 4), Code::kDataLoss, "not a multiple of the alignment 32");
  ExpectRefused(GgufBuilder().Tensor("t", {48}, 2, kRow), Code::kDataLoss, "not whole blocks of 32 (Q4_0)");
  ExpectRefused(GgufBuilder().Tensor("t", {256}, 10, kRow), Code::kUnimplemented, "is Q2_K, which is not read");
  ExpectRefused(GgufBuilder().Tensor("t", {32}, 4000, kRow), Code::kUnimplemented, "type 4000");
  ExpectRefused(GgufBuilder().Tensor("a", {32}, 0, kRow).Tensor("b", {32}, 0, kRow, 96), Code::kDataLoss,
                "tensors \"a\" and \"b\" overlap");
  ExpectRefused(GgufBuilder().Tensor("a", {32}, 0, kRow).Tensor("b", {32}, 0, kRow, 0), Code::kDataLoss, "overlap");
}

TEST(GgufTest, EveryTruncationIsAnErrorAndNeverACrash) {
  GgufBuilder b;
  b.U32("n", 1)
      .Strs("s", {"one", "two"})
      .Str("t", "text")
      .F32Tensor("a", {8}, std::vector<float>(8, 1))
      .F32Tensor("b", {8}, std::vector<float>(8, 2));
  const std::string whole = b.Build();
  ASSERT_TRUE(Parse(whole).ok());
  for (size_t size = 0; size < whole.size(); ++size) EXPECT_EQ(Parse(whole.substr(0, size)).status().code(), Code::kDataLoss) << size;
}

TEST(GgufTest, RandomDamageNeverCrashes) {
  GgufBuilder b;
  b.U32("n", 1)
      .Strs("s", {"one", "two"})
      .Bool("f", true)
      .F32Tensor("a", {8}, std::vector<float>(8, 1))
      .Tensor("q", {32, 2}, 3, std::string(40, 'x'));
  const std::string whole = b.Build();
  std::mt19937 random(11);
  int refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string damaged = whole;
    for (int n = 0; n < 3; ++n) damaged[random() % damaged.size()] = static_cast<char>(random());
    auto parsed = Parse(damaged);
    if (!parsed.ok()) {
      ++refused;
      continue;
    }
    for (const auto& [name, tensor] : (*parsed)->tensors()) {
      std::vector<float> values(static_cast<size_t>(tensor.elements()));
      Dequantize(tensor.type, tensor.data, values);
    }
  }
  EXPECT_GT(refused, 1000);
}

TEST(GgufTest, OpensFilesAndNamesAbsentOnes) {
  std::string directory = testing::TempDir() + "/gguf_XXXXXX";
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  const std::string path = directory + "/model.gguf";
  EXPECT_EQ(GgufFile::Open(path).status().code(), Code::kNotFound);
  std::ofstream(path) << "";
  EXPECT_EQ(GgufFile::Open(path).status().code(), Code::kDataLoss);
  EXPECT_EQ(GgufFile::Open(directory).status().code(), Code::kInvalidArgument);
  std::ofstream(path, std::ios::binary) << GgufBuilder().Str("k", "v").F32Tensor("a", {1}, {2.5f}).Build();
  auto file = GgufFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(*(*file)->GetString("k"), "v");
  EXPECT_EQ((*file)->path(), path);
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace switchyard
