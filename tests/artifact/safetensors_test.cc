#include "engine/artifact/safetensors.h"

#include <sys/stat.h>
#include <unistd.h>

#include <limits>

#include "engine/artifact/atomic_file.h"
#include "engine/artifact/finite.h"
#include "engine/artifact/sha256.h"
#include "tests/artifact/artifact_testing.h"

namespace switchyard {
namespace {
using absl::StatusCode;
namespace fs = std::filesystem;

Status ParseStatus(const std::string& bytes) {
  return SafetensorsFile::Parse(std::make_shared<std::string>(bytes), "f.safetensors").status();
}
Status HeaderStatus(const std::string& header, size_t data_bytes) {
  return ParseStatus(RawSafetensors(header, std::string(data_bytes, '\0')));
}

struct Damaged {
  std::string header;
  size_t data;
  StatusCode code;
  std::vector<std::string> parts;
};

TEST(Safetensors, EveryRuleOfTheHeaderIsEnforced) {
  const auto u8 = [](const std::string& name, int begin, int end) {
    return "\"" + name + "\":{\"dtype\":\"U8\",\"shape\":[" + std::to_string(end - begin) + "],\"data_offsets\":[" + std::to_string(begin) +
           "," + std::to_string(end) + "]}";
  };
  const std::vector<Damaged> cases = {
      {"{" + u8("a", 0, 4) + "," + u8("a", 0, 4) + "}", 4, StatusCode::kDataLoss, {"f.safetensors", "\"a\" appears twice"}},
      {"{" + u8("a", 0, 4) + "," + u8("b", 2, 6) + "}", 6, StatusCode::kDataLoss, {"\"b\"", "begins at byte 2", "expected 4"}},
      {"{" + u8("a", 0, 4) + "," + u8("b", 5, 6) + "}", 6, StatusCode::kDataLoss, {"\"b\"", "begins at byte 5", "expected 4"}},
      {"{" + u8("a", 1, 4) + "}", 4, StatusCode::kDataLoss, {"\"a\"", "begins at byte 1", "expected 0"}},
      {"{" + u8("a", 0, 4) + "}", 5, StatusCode::kDataLoss, {"end at byte 4", "has 5"}},
      {"{" + u8("a", 0, 4) + "}", 3, StatusCode::kDataLoss, {"\"a\"", "[0, 4]", "3 data bytes"}},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})",
       4,
       StatusCode::kDataLoss,
       {"\"a\"", "F32 [2]", "needs 8 bytes", "give 4"}},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[4,0]}})", 4, StatusCode::kDataLoss, {"[4, 0]"}},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", 0, StatusCode::kDataLoss, {"overflows"}},
      {R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,0]}})", 0, StatusCode::kDataLoss, {"shape", "non-negative"}},
      {R"({"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,0]}})", 0, StatusCode::kDataLoss, {"shape"}},
      {R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0]}})", 0, StatusCode::kDataLoss, {"data_offsets"}},
      {R"({"a":{"dtype":"U8","shape":[0]}})", 0, StatusCode::kDataLoss, {"\"a\"", "dtype, shape and data_offsets"}},
      {R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":1}})", 0, StatusCode::kDataLoss, {"dtype, shape and data_offsets"}},
      {R"({"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}})", 1, StatusCode::kUnimplemented, {"\"a\"", "F8_E4M3", "BF16"}},
      {R"({"__metadata__":{"k":1}})", 0, StatusCode::kDataLoss, {"__metadata__", "\"k\""}},
      {R"({"__metadata__":[]})", 0, StatusCode::kDataLoss, {"__metadata__"}},
      {R"([])", 0, StatusCode::kDataLoss, {"'{'"}},
      {R"( {})", 0, StatusCode::kDataLoss, {"'{'"}},
      {R"({"a":)", 0, StatusCode::kDataLoss, {"not valid JSON"}},
      {"{\"a\xff\":1}", 0, StatusCode::kDataLoss, {"not valid JSON"}},
      {"", 0, StatusCode::kDataLoss, {"'{'"}},
      {"{\"a\":" + std::string(200000, '[') + std::string(200000, ']') + "}", 0, StatusCode::kDataLoss, {"nested too deeply"}},
      {"{\"" + std::string(2000, 'n') + "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}",
       0,
       StatusCode::kDataLoss,
       {"2000 bytes", "1024"}},
  };
  for (const Damaged& c : cases) {
    SCOPED_TRACE(c.header.substr(0, 120));
    ExpectRefused(HeaderStatus(c.header, c.data), c.code, c.parts);
  }
}

TEST(Safetensors, RefusesLengthsThatDoNotFitTheFile) {
  ExpectRefused(ParseStatus("1234567"), StatusCode::kDataLoss, {"at least 8 bytes", "7"});
  ExpectRefused(ParseStatus(std::string("\xff\xff\xff\xff\xff\xff\xff\xff", 8) + "{}"), StatusCode::kDataLoss, {"over the limit"});
  ExpectRefused(ParseStatus(std::string("\x03\0\0\0\0\0\0\0", 8) + "{}"), StatusCode::kDataLoss, {"3", "past the end"});
  const std::string whole = RawSafetensors(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", std::string(8, 'x'));
  EXPECT_TRUE(ParseStatus(whole).ok());
  for (size_t n = 0; n < whole.size(); ++n) EXPECT_EQ(ParseStatus(whole.substr(0, n)).code(), StatusCode::kDataLoss) << n;
}

TEST(Safetensors, EmptyAndScalarTensorsAreLegal) {
  const auto file = SafetensorsFile::Parse(
      std::make_shared<std::string>(RawSafetensors(
          R"({"e":{"dtype":"F32","shape":[0,4611686018427387904,9],"data_offsets":[0,0]},"s":{"dtype":"I16","shape":[],"data_offsets":[0,2]}})",
          "ab")),
      "f");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->Get("e")->elements(), 0);
  EXPECT_EQ((*file)->Get("s")->elements(), 1);
  ExpectRefused((*file)->Get("x").status(), StatusCode::kNotFound, {"f", "\"x\""});
}

TEST(Safetensors, ReadsWhatThePythonLibraryWrote) {
  const auto file = SafetensorsFile::Open("tests/golden/artifact/python.safetensors");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->tensors().size(), 12u);
  EXPECT_EQ((*file)->metadata().at("note"), "h\xc3\xa9llo");
  const TensorView f32 = *(*file)->Get("f32");
  EXPECT_EQ(f32.shape, (std::vector<int64_t>{2, 3}));
  std::vector<float> values(6);
  std::memcpy(values.data(), f32.data.data(), 24);
  EXPECT_EQ(values, (std::vector<float>{1.5f, -2.0f, 3.25f, 0.0f, 1e-8f, 6e4f}));
  const TensorView i64 = *(*file)->Get("i64");
  int64_t wide[2];
  std::memcpy(wide, i64.data.data(), 16);
  EXPECT_EQ(wide[0], -1);
  EXPECT_EQ(wide[1], int64_t{1} << 40);
  EXPECT_EQ((*file)->Get("bool")->dtype, DType::kBool);
  EXPECT_EQ((*file)->Get("bf16")->dtype, DType::kBF16);
  EXPECT_EQ((*file)->Get("empty")->shape, (std::vector<int64_t>{0, 4}));
}

TEST(Safetensors, WriterKeepsTensorsAndPythonsOrderOfData) {
  // Our header lists its keys by name and the reference's does not, so the headers differ in bytes; the data must not.
  TempDirectory dir;
  const auto golden = SafetensorsFile::Open("tests/golden/artifact/python.safetensors");
  ASSERT_TRUE(golden.ok()) << golden.status();
  std::vector<TensorView> tensors;
  for (const auto& [name, view] : (*golden)->tensors()) tensors.push_back(view);
  ASSERT_TRUE(WriteSafetensors(dir / "w.safetensors", tensors, (*golden)->metadata()).ok());
  const auto copy = SafetensorsFile::Open(dir / "w.safetensors");
  ASSERT_TRUE(copy.ok()) << copy.status();
  EXPECT_EQ((*copy)->metadata(), (*golden)->metadata());
  ASSERT_EQ((*copy)->tensors().size(), (*golden)->tensors().size());
  for (const auto& [name, want] : (*golden)->tensors()) {
    const TensorView got = *(*copy)->Get(name);
    EXPECT_EQ(got.dtype, want.dtype) << name;
    EXPECT_EQ(got.shape, want.shape) << name;
    EXPECT_TRUE(std::equal(got.data.begin(), got.data.end(), want.data.begin(), want.data.end())) << name;
  }
  const std::string a = ReadText(dir / "w.safetensors"), b = ReadText("tests/golden/artifact/python.safetensors");
  uint64_t length = 0;
  std::memcpy(&length, a.data(), 8);
  EXPECT_EQ(length % 8, 0u);
  size_t data = 0;
  for (const TensorView& t : tensors) data += t.data.size();
  EXPECT_EQ(a.substr(a.size() - data), b.substr(b.size() - data));
}

TEST(Safetensors, WriterRefusesWrongSizesAndNamesGivenTwice) {
  TempDirectory dir;
  ExpectRefused(WriteSafetensors(dir / "w", {FloatTensor("a", {3}, {1, 2})}, {}), StatusCode::kInvalidArgument,
                {"\"a\"", "[3]", "8 bytes"});
  ExpectRefused(WriteSafetensors(dir / "w", {FloatTensor("a", {1}, {1}), FloatTensor("a", {1}, {1})}, {}), StatusCode::kInvalidArgument,
                {"\"a\"", "twice"});
  EXPECT_TRUE(fs::is_empty(dir.path()));
}

TEST(Safetensors, FailedWriteLeavesNothingAndKeepsTheOldFile) {
  TempDirectory dir;
  ExpectRefused(WriteSafetensors(dir / "none/w", {FloatTensor("a", {1}, {1})}, {}), StatusCode::kInvalidArgument, {"none/w"});
  fs::create_directories(dir / "target/inside");  // a directory where the file should go: the rename fails after everything was written
  EXPECT_FALSE(WriteSafetensors(dir / "target", {FloatTensor("a", {1}, {1})}, {}).ok());
  size_t entries = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(dir.path())) ++entries;
  EXPECT_EQ(entries, 1u);
  ASSERT_TRUE(WriteFileAtomically(dir / "f", std::string_view("old")).ok());
  ASSERT_TRUE(WriteFileAtomically(dir / "f", std::string_view("new")).ok());
  EXPECT_EQ(ReadText(dir / "f"), "new");
}

TEST(Safetensors, MappingOutlivesTheFileObject) {
  TempDirectory dir;
  ASSERT_TRUE(WriteSafetensors(dir / "w", {FloatTensor("a", {2}, {1, 2})}, {}).ok());
  TensorView view = *(*SafetensorsFile::Open(dir / "w"))->Get("a");
  fs::remove(dir / "w");
  float values[2];
  std::memcpy(values, view.data.data(), 8);
  EXPECT_EQ(values[1], 2.0f);
}

TEST(Safetensors, AbsentFilesAndDirectoriesAreNamed) {
  TempDirectory dir;
  ExpectRefused(SafetensorsFile::Open(dir / "gone").status(), StatusCode::kNotFound, {"gone"});
  ExpectRefused(SafetensorsFile::Open(dir.path()).status(), StatusCode::kInvalidArgument, {"regular file"});
}

class SafetensorsIndex : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(WriteSafetensors(dir_ / "s1.safetensors", {FloatTensor("a", {1}, {1})}, {}).ok());
    ASSERT_TRUE(WriteSafetensors(dir_ / "s2.safetensors", {FloatTensor("b", {1}, {2})}, {}).ok());
  }
  Status OpenWith(const std::string& map) {
    WriteText(dir_ / "model.safetensors.index.json", "{\"metadata\":{},\"weight_map\":" + map + "}");
    return SafetensorsSet::OpenModelDirectory(dir_.path()).status();
  }
  TempDirectory dir_;
};

TEST_F(SafetensorsIndex, ReadsShards) {
  ASSERT_TRUE(OpenWith(R"({"a":"s1.safetensors","b":"s2.safetensors"})").ok());
  const auto set = SafetensorsSet::OpenModelDirectory(dir_.path());
  EXPECT_EQ((*set)->files().size(), 2u);
  EXPECT_TRUE((*set)->Get("b").ok());
  ExpectRefused((*set)->Get("c").status(), StatusCode::kNotFound, {dir_.path(), "\"c\""});
}

TEST_F(SafetensorsIndex, RefusesTraversalAndDisagreement) {
  for (const char* name : {"../s1.safetensors", "/etc/passwd", "..", ".", "", "sub/s1.safetensors", "a\\\\b", "s1\\u0000"}) {
    ExpectRefused(OpenWith(std::string("{\"a\":\"") + name + "\"}"), StatusCode::kDataLoss, {"weight_map[\"a\"]", "plain file name"});
  }
  ExpectRefused(OpenWith(R"({"a":"s1.safetensors","b":"s1.safetensors"})"), StatusCode::kDataLoss, {"\"b\"", "s1.safetensors"});
  ExpectRefused(OpenWith(R"({"a":"s2.safetensors","b":"s2.safetensors"})"), StatusCode::kDataLoss, {"\"a\"", "s2.safetensors"});
  ExpectRefused(OpenWith(R"({"a":"s1.safetensors","c":"s2.safetensors"})"), StatusCode::kDataLoss, {"\"b\"", "weight_map"});
  ExpectRefused(OpenWith(R"({"a":"s1.safetensors","b":"s3.safetensors"})"), StatusCode::kNotFound, {"s3.safetensors"});
  ExpectRefused(OpenWith(R"({"a":"s1.safetensors","a":"s2.safetensors"})"), StatusCode::kDataLoss, {"\"a\" appears twice"});
  ExpectRefused(OpenWith(R"({"a":7})"), StatusCode::kDataLoss, {"weight_map[\"a\"]"});
  ExpectRefused(OpenWith("[]"), StatusCode::kDataLoss, {"weight_map"});
}

TEST_F(SafetensorsIndex, RefusesOneTensorInTwoShards) {
  ASSERT_TRUE(WriteSafetensors(dir_ / "s2.safetensors", {FloatTensor("a", {1}, {3}), FloatTensor("b", {1}, {2})}, {}).ok());
  ExpectRefused(OpenWith(R"({"a":"s1.safetensors","b":"s2.safetensors"})"), StatusCode::kDataLoss,
                {"s2.safetensors", "\"a\"", "s1.safetensors"});
}

TEST_F(SafetensorsIndex, FollowsSymlinkedShards) {
  fs::create_directory(dir_ / "blobs");
  fs::rename(dir_ / "s1.safetensors", dir_ / "blobs/0123");
  fs::create_symlink("blobs/0123", dir_ / "s1.safetensors");
  EXPECT_TRUE(OpenWith(R"({"a":"s1.safetensors","b":"s2.safetensors"})").ok());
}

TEST(Finite, FindsTheFirstBadElementOfEachFloatType) {
  EXPECT_EQ(FirstNonFinite(FloatTensor("a", {3}, {1, 2, std::numeric_limits<float>::quiet_NaN()})), 2);
  EXPECT_EQ(FirstNonFinite(FloatTensor("a", {3}, {1, -std::numeric_limits<float>::infinity(), 2})), 1);
  EXPECT_EQ(FirstNonFinite(FloatTensor("a", {2}, {1, std::numeric_limits<float>::max()})), std::nullopt);
  const uint16_t half[] = {0x7BFF, 0xFC00}, bf16[] = {0x7F7F, 0x7FC0};
  EXPECT_EQ(FirstNonFinite({"h", DType::kF16, {2}, std::as_bytes(std::span(half)), nullptr}), 1);
  EXPECT_EQ(FirstNonFinite({"b", DType::kBF16, {2}, std::as_bytes(std::span(bf16)), nullptr}), 1);
  EXPECT_TRUE(AllZero(FloatTensor("a", {2}, {0.0f, -0.0f})));
  EXPECT_FALSE(AllZero(FloatTensor("a", {2}, {0.0f, 1e-40f})));
}

TEST(Sha256, PublishedVectors) {
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  TempDirectory dir;
  WriteText(dir / "f", "abc");
  EXPECT_EQ(*Sha256HexOfFile(dir / "f"), Sha256Hex("abc"));
}

}  // namespace
}  // namespace switchyard
