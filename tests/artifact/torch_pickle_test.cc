#include "engine/artifact/torch_pickle.h"

#include <algorithm>

#include "engine/artifact/safetensors.h"
#include "engine/artifact/zip_archive.h"
#include "tests/artifact/artifact_testing.h"
#include "tests/artifact/zip_builder.h"

namespace switchyard {
namespace {

using testing_zip::Raw;
using testing_zip::ZipBuilder;
using Code = absl::StatusCode;
const std::string kGoldens = "tests/golden/artifact/torch/";

Status ParseStatus(const std::string& bytes) {
  return TorchPickleFile::Parse(std::make_shared<const std::string>(bytes), "test.bin").status();
}

// Pickles by hand.
std::string Text(const std::string& s) { return "X" + Raw(static_cast<uint32_t>(s.size())) + s; }
std::string Int(int32_t n) { return "J" + Raw(n); }
std::string Storage(const std::string& type, const std::string& key, int32_t elements) {
  return "(" + Text("storage") + "ctorch\n" + type + "\n" + Text(key) + Text("cpu") + Int(elements) + "tQ";
}
std::string Tensor(const std::string& storage, int32_t offset, const std::string& shape, const std::string& strides) {
  return "ctorch._utils\n_rebuild_tensor_v2\n(" + storage + Int(offset) + shape + strides +
         "\x89"
         "ccollections\nOrderedDict\n)RtR";
}
std::string One(int32_t n) { return Int(n) + "\x85"; }
std::string Two(int32_t a, int32_t b) { return Int(a) + Int(b) + "\x86"; }
std::string Dict(const std::string& name, const std::string& value) { return "}" + Text(name) + value + "s"; }
std::string Pickle(const std::string& body) { return "\x80\x02" + body + "."; }

// An archive of `pickle` and one storage of four floats.
std::string File(const std::string& pickle) {
  return ZipBuilder().Add("a/data.pkl", pickle).Add("a/byteorder", "little").Add("a/data/0", std::string(16, '\x01')).Build();
}
const std::string kGood = Tensor(Storage("FloatStorage", "0", 4), 0, Two(2, 2), Two(2, 1));

TEST(TorchPickleTest, ReadsWhatTorchSaveWritesInEveryProtocol) {
  const auto expected = SafetensorsFile::Open(kGoldens + "expected.safetensors");
  ASSERT_TRUE(expected.ok()) << expected.status();
  for (const char* name : {"state_p2.bin", "state_p3.bin", "state_p4.bin", "state_p5.bin"}) {
    const auto file = TorchPickleFile::Open(kGoldens + name);
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ((*file)->tensors().size(), 24u);
    ASSERT_EQ((*file)->tensors().size(), (*expected)->tensors().size());
    for (const auto& [key, view] : (*expected)->tensors()) {
      const auto found = (*file)->Get(key);
      ASSERT_TRUE(found.ok()) << found.status();
      EXPECT_EQ(found->name, key);
      EXPECT_EQ(found->dtype, view.dtype) << key;
      EXPECT_EQ(found->shape, view.shape) << key;
      EXPECT_TRUE(std::equal(found->data.begin(), found->data.end(), view.data.begin(), view.data.end())) << name << ": " << key;
    }
  }
}

TEST(TorchPickleTest, NamesOfOneStorageShareTheirBytes) {
  const auto file = TorchPickleFile::Open(kGoldens + "state_p2.bin");
  ASSERT_TRUE(file.ok()) << file.status();
  const auto data = [&](const std::string& name) { return (*file)->Get(name)->data.data(); };
  EXPECT_EQ(data("whole"), data("again"));
  EXPECT_EQ(data("rows"), data("whole") + 6 * 4);
  EXPECT_EQ(data("transposed"), data("transposed_again"));
  EXPECT_NE(data("transposed"), data("whole"));
}

TEST(TorchPickleTest, TensorsOutliveTheFile) {
  StatusOr<TensorView> mapped = NotFound("unset"), copied = NotFound("unset");
  {
    const auto file = TorchPickleFile::Open(kGoldens + "state_p2.bin");
    ASSERT_TRUE(file.ok()) << file.status();
    mapped = (*file)->Get("whole");
    copied = (*file)->Get("columns");
  }
  float value = 0;
  std::memcpy(&value, mapped->data.data() + 23 * 4, 4);
  EXPECT_EQ(value, 23 / 8.0f);
  std::memcpy(&value, copied->data.data() + 3 * 4, 4);
  EXPECT_EQ(value, 7 / 8.0f);
}

TEST(TorchPickleTest, RefusesByNameWhatIsNoStateDict) {
  const std::tuple<const char*, Code, std::vector<std::string>> cases[] = {
      {"nested", Code::kUnimplemented, {"\"model\" is a dict", "expected a tensor"}},
      {"number", Code::kUnimplemented, {"\"step\" is an int", "expected a tensor"}},
      {"list", Code::kUnimplemented, {"holds a list", "expected a state dict"}},
      {"tensor", Code::kUnimplemented, {"holds a tensor", "expected a state dict"}},
      {"evil", Code::kUnimplemented, {"posix.system", "nothing was executed"}},
      {"complex", Code::kUnimplemented, {"torch.ComplexFloatStorage"}},
      {"u16", Code::kUnimplemented, {"_rebuild_tensor_v3"}},
      {"sparse", Code::kUnimplemented, {"_rebuild_sparse_tensor"}},
      {"dtype", Code::kUnimplemented, {"torch.float32"}},
      {"legacy", Code::kUnimplemented, {"before PyTorch 1.6"}},
      {"script", Code::kUnimplemented, {"compressed", "TorchScript"}},
  };
  for (const auto& [name, code, parts] : cases) {
    const std::string path = kGoldens + "refused_" + name + ".bin";
    std::vector<std::string> all = parts;
    all.push_back(path);
    ExpectRefused(TorchPickleFile::Open(path).status(), code, all);
  }
  ExpectRefused(TorchPickleFile::Open(kGoldens + "absent.bin").status(), Code::kNotFound, {"absent.bin"});
  ExpectRefused(TorchPickleFile::Open(kGoldens + "state_p2.bin").value()->Get("absent").status(), Code::kNotFound,
                {"absent", "state_p2.bin"});
}

TEST(TorchPickleTest, RefusesBrokenPicklesNamingTheByte) {
  ASSERT_TRUE(ParseStatus(File(Pickle(Dict("x", kGood)))).ok()) << ParseStatus(File(Pickle(Dict("x", kGood))));
  const std::tuple<std::string, Code, std::string> cases[] = {
      {"", Code::kDataLoss, "byte 0: the pickle is cut short"},
      {"\x80\x01.", Code::kUnimplemented, "byte 0: pickle protocol 1"},
      {"\x80\x06.", Code::kUnimplemented, "byte 0: pickle protocol 6"},
      {Pickle(""), Code::kDataLoss, "byte 2: the pickle ends with 0 values"},
      {Pickle("NN"), Code::kDataLoss, "byte 4: the pickle ends with 2 values"},
      {Pickle("(N"), Code::kDataLoss, "byte 4: the pickle ends with 1 values"},
      {Pickle("}") + "x", Code::kDataLoss, "byte 3: the pickle ends here, 1 bytes follow"},
      {Pickle("\x81"), Code::kUnimplemented, "byte 2: opcode 0x81"},
      {Pickle("I1\n"), Code::kUnimplemented, "byte 2: opcode 0x49"},
      {Pickle("h\x05"), Code::kDataLoss, "byte 2: memo 5 was never written"},
      {Pickle("q\x05"), Code::kDataLoss, "byte 2: a value is missing"},
      {Pickle("N(q\x05"), Code::kDataLoss, "byte 4: a value is missing"},
      {Pickle("t"), Code::kDataLoss, "byte 2: a mark is missing"},
      {Pickle("N\x86"), Code::kDataLoss, "byte 3: a value is missing"},
      {Pickle("X" + Raw(0xffffffffu) + "abc"), Code::kDataLoss, "byte 2: a string of 4294967295 bytes, 4 are left"},
      {Pickle("\x8d" + Raw(~uint64_t{0}) + "abc"), Code::kDataLoss, "a string of 18446744073709551615 bytes"},
      {Pickle("\x8a\x09" + std::string(9, '\1')), Code::kUnimplemented, "an integer of 9 bytes"},
      {Pickle("cos\nsystem\n"), Code::kUnimplemented, "byte 2: the global os.system"},
      {Pickle(Text("builtins") + Text("eval") + "\x93"), Code::kUnimplemented, "the global builtins.eval"},
      {Pickle("NN\x93"), Code::kDataLoss, "a global's name is not a string"},
      {Pickle("c" + std::string(50, 'x')), Code::kDataLoss, "cut short"},
      {Pickle("N)R"), Code::kDataLoss, "a call of None"},
      {Pickle("ccollections\nOrderedDict\nNR"), Code::kDataLoss, "arguments are None"},
      {Pickle("ccollections\nOrderedDict\n]\x85R"), Code::kUnimplemented, "an OrderedDict made of arguments"},
      {Pickle("N}b"), Code::kDataLoss, "None, expected a dict"},
      {Pickle("}NNNu"), Code::kDataLoss, "a mark is missing"},
      {Pickle("}(NNNu"), Code::kDataLoss, "a key without a value"},
      {Pickle("NQ"), Code::kDataLoss, "a persistent id that is no storage"},
      {Pickle("}" + Int(1) + kGood + "s"), Code::kUnimplemented, "a key of the state dict is an int"},
      {Pickle("}(" + Text("x") + kGood + Text("x") + kGood + "u"), Code::kDataLoss, "\"x\" is there twice"},
      {Pickle(Dict(std::string(2000, 'n'), kGood)), Code::kDataLoss, "a name of 2000 bytes"},
      {Pickle(Dict("x", Storage("FloatStorage", "../../etc/passwd", 4))), Code::kDataLoss, "storage key \"../../etc/passwd\""},
      {Pickle(Dict("x", Storage("FloatStorage", "0", -4))), Code::kDataLoss, "a storage of -4 elements"},
      {Pickle(Dict("x", Storage("UntypedStorage", "0", 4))), Code::kUnimplemented, "torch.UntypedStorage"},
  };
  for (const auto& [pickle, code, message] : cases) ExpectRefused(ParseStatus(File(pickle)), code, {"test.bin: a/data.pkl", message});
}

TEST(TorchPickleTest, RefusesTensorsThatDoNotFitTheirStorage) {
  const std::string floats = Storage("FloatStorage", "0", 4);
  const std::string huge = "\x8a\x08" + Raw(int64_t{1} << 62);
  const std::tuple<std::string, Code, std::string> cases[] = {
      {Tensor(Storage("FloatStorage", "7", 4), 0, One(4), One(1)), Code::kDataLoss, "storage data/7 is not in the archive"},
      {Tensor(Storage("FloatStorage", "0", 5), 0, One(4), One(1)), Code::kDataLoss, "data/0 has 16 bytes, expected 5 elements of 4"},
      {Tensor(Storage("LongStorage", "0", 4), 0, One(2), One(1)), Code::kDataLoss, "expected 4 elements of 8"},
      {Tensor(floats, 1, One(4), One(1)), Code::kDataLoss, "at offset 1 reach past its storage of 4 elements"},
      {Tensor(floats, 4, One(1), One(1)), Code::kDataLoss, "reach past"},
      {Tensor(floats, 0, One(5), One(1)), Code::kDataLoss, "reach past"},
      {Tensor(floats, 0, Two(2, 2), Two(3, 1)), Code::kDataLoss, "reach past"},
      {Tensor(floats, -1, One(1), One(1)), Code::kDataLoss, "offset -1"},
      {Tensor(floats, 0, One(-1), One(1)), Code::kDataLoss, "non-negative"},
      {Tensor(floats, 0, One(1), One(-1)), Code::kDataLoss, "non-negative"},
      {Tensor(floats, 0, One(2), Two(1, 1)), Code::kDataLoss, "1 sizes and 2 strides"},
      {Tensor(floats, 0, "]", "]"), Code::kDataLoss, "tuples"},
      {Tensor(floats, 0, huge + huge + "\x86", Two(0, 0)), Code::kDataLoss, "overflows"},
      {Tensor(floats, 0, "(" + huge + huge + Int(0) + "t", "(" + Int(0) + Int(0) + Int(0) + "t"), Code::kDataLoss, "overflows"},
      {Tensor(floats, 0, Two(2, 2), huge + huge + "\x86"), Code::kDataLoss, "reach past"},
      {Tensor(floats, 0, One(1 << 30), One(0)), Code::kResourceExhausted, "may not exceed the file's size"},
  };
  for (const auto& [tensor, code, message] : cases)
    ExpectRefused(ParseStatus(File(Pickle(Dict("x", tensor)))), code, {"test.bin", message});
}

TEST(TorchPickleTest, LargeStridesOfSingleElementsAreHarmless) {
  const std::string huge = "\x8a\x08" + Raw(INT64_MAX);
  const std::string tensor =
      Tensor(Storage("FloatStorage", "0", 4), 1, "(" + Int(1) + Int(3) + Int(1) + "t", "(" + huge + Int(1) + huge + "t");
  const auto file = TorchPickleFile::Parse(std::make_shared<const std::string>(File(Pickle(Dict("x", tensor)))), "test.bin");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->Get("x")->data.size(), 12u);
}

TEST(TorchPickleTest, DeepNestingNeedsNoStack) {
  std::string nested(1'000'000, ')');
  for (char& c : nested) c = '\x85';
  ExpectRefused(ParseStatus(File(Pickle("N" + nested))), Code::kUnimplemented, {"holds a tuple"});
}

TEST(TorchPickleTest, RefusesOtherArchives) {
  const std::string good = Pickle(Dict("x", kGood)), data(16, '\1');
  ExpectRefused(ParseStatus(ZipBuilder().Add("readme.txt", "hi").Build()), Code::kDataLoss, {"without FOLDER/data.pkl"});
  ExpectRefused(ParseStatus(ZipBuilder().Add("a/data.pkl", good).Add("b/data.pkl", good).Build()), Code::kDataLoss,
                {"two pickles", "a/data.pkl", "b/data.pkl"});
  ExpectRefused(ParseStatus(ZipBuilder().Add("a/data.pkl", good).Add("a/byteorder", "big").Add("a/data/0", data).Build()),
                Code::kUnimplemented, {"\"big\""});
  EXPECT_TRUE(
      ParseStatus(ZipBuilder().Add("a/data.pkl", good).Add("a/data/0", data).Build()).ok());  // PyTorch before 2.1 wrote no byte order
}

std::span<const std::byte> BytesOf(const std::string& text) { return std::as_bytes(std::span(text.data(), text.size())); }

TEST(ZipArchiveTest, ReadsPlainAndZip64DirectoriesWithAComment) {
  for (const bool zip64 : {false, true}) {
    ZipBuilder zip;
    zip.Add("one", "first").Add("two", "").Add("folder/three", "third");
    zip.zip64 = zip64;
    zip.comment = "PK\5\6 is not the end";
    const std::string bytes = zip.Build();
    const auto entries = ReadZipDirectory(BytesOf(bytes), "test.zip");
    ASSERT_TRUE(entries.ok()) << entries.status();
    ASSERT_EQ(entries->size(), 3u);
    const auto third = entries->at("folder/three");
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(third.data()), third.size()), "third");
  }
}

TEST(ZipArchiveTest, RefusesBrokenDirectories) {
  ZipBuilder good;
  good.Add("one", "first").Add("two", "second");
  const auto refused = [](const std::string& bytes, Code code, const std::string& message) {
    ExpectRefused(ReadZipDirectory(BytesOf(bytes), "test.zip").status(), code, {"test.zip", message});
  };
  refused("", Code::kDataLoss, "not a zip archive");
  refused(good.Build().substr(0, 60), Code::kDataLoss, "cut short");
  refused(good.Build() + "x", Code::kDataLoss, "cut short");
  ZipBuilder zip = good;
  zip.entries[1].name = zip.entries[1].local_name = "one";
  refused(zip.Build(), Code::kDataLoss, "\"one\" is listed twice");
  zip = good;
  zip.entries[1].local_name = "six";
  refused(zip.Build(), Code::kDataLoss, "has another name");
  zip = good;
  zip.entries[0].method = 8;
  refused(zip.Build(), Code::kUnimplemented, "\"one\" is compressed (method 8)");
  zip = good;
  zip.entries[0].flags = 1;
  refused(zip.Build(), Code::kUnimplemented, "\"one\" is encrypted");
  zip = good;
  zip.shift = 1;
  refused(zip.Build(), Code::kDataLoss, "no header at byte 1");
  zip = good;
  zip.extra_count = 1;
  refused(zip.Build(), Code::kDataLoss, "directory is broken");
  for (const int64_t shift : {int64_t{1} << 40, -int64_t{1}}) {
    zip = good;
    zip.zip64 = true;
    zip.shift = shift;
    refused(zip.Build(), Code::kDataLoss, "no header at byte");
  }
  zip = good;
  zip.entries[0].data = ZipBuilder().Add("two", "inner").Build();
  std::string bytes = zip.Build();  // "two" of the directory pointed at the copy inside "one"
  const size_t central = bytes.rfind("PK\1\2");
  const uint32_t inside = 30 + 3;
  std::memcpy(bytes.data() + central + 42, &inside, 4);
  const uint32_t five = 5;
  std::memcpy(bytes.data() + central + 20, &five, 4);
  std::memcpy(bytes.data() + central + 24, &five, 4);
  refused(bytes, Code::kDataLoss, "share bytes");
}

}  // namespace
}  // namespace switchyard
