#include "engine/artifact/router_artifact.h"

#include <limits>

#include "engine/artifact/atomic_file.h"
#include "engine/artifact/fixtures.h"
#include "engine/artifact/peft_adapter.h"
#include "nlohmann/json.hpp"
#include "tests/artifact/artifact_testing.h"

namespace switchyard {
namespace {
using absl::StatusCode;
using Json = nlohmann::ordered_json;

RouterManifest Manifest() {
  RouterManifest m;
  m.name = "r";
  m.kind = "linear";
  m.weight_mode = "renorm";
  m.base_generation = std::string(64, 'a');
  m.num_layers = 1;
  m.hidden_size = 2;
  m.experts = {{"law", std::string(64, 'b'), false}, {"zero", "zero", true}};
  return m;
}
std::vector<TensorView> Tensors(float value = 1) { return {FloatTensor("layers.0.router.weight", {2, 2}, {1, 2, 3, value})}; }

class RouterArtifactTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(WriteRouterArtifact(path_, Manifest(), Tensors()).ok()); }
  Status ReadWith(const std::string& key, const Json& value) {
    Json json = Json::parse(ReadText(path_ + "/router.json"));
    Json changed = json;
    if (value.is_discarded()) {
      changed.erase(key);
    } else {
      changed[key] = value;
    }
    WriteText(path_ + "/router.json", changed.dump());
    const Status status = ReadRouterArtifact(path_).status();
    WriteText(path_ + "/router.json", json.dump());
    return status;
  }
  TempDirectory dir_;
  std::string path_ = dir_ / "router";
};

TEST_F(RouterArtifactTest, RoundTrip) {
  const auto artifact = ReadRouterArtifact(path_);
  ASSERT_TRUE(artifact.ok()) << artifact.status();
  EXPECT_EQ(artifact->manifest.kind, "linear");
  EXPECT_EQ(artifact->manifest.experts[1].name, "zero");
  EXPECT_TRUE(artifact->manifest.experts[1].is_zero);
  EXPECT_EQ(artifact->manifest.tensors_sha256.size(), 64u);
  EXPECT_EQ(artifact->generation.size(), 64u);
  EXPECT_EQ(artifact->tensors->tensors().size(), 1u);
}

TEST_F(RouterArtifactTest, PublishesWholeOrNotAtAll) {
  ExpectRefused(WriteRouterArtifact(path_, Manifest(), Tensors()), StatusCode::kAlreadyExists, {path_});
  EXPECT_FALSE(WriteRouterArtifact(dir_ / "other", Manifest(), {FloatTensor("a", {9}, {1})}).ok());
  WriteText(dir_ / "file", "");
  EXPECT_FALSE(WriteRouterArtifact(dir_ / "file/router", Manifest(), Tensors()).ok());
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(dir_.path())) names.push_back(entry.path().filename());
  EXPECT_THAT(names, testing::UnorderedElementsAre("router", "file"));
}

TEST_F(RouterArtifactTest, EveryFieldIsRequiredAndTyped) {
  const Json whole = Json::parse(ReadText(path_ + "/router.json"));
  for (const auto& [key, value] : whole.items()) {
    ExpectRefused(ReadWith(key, Json(Json::value_t::discarded)), StatusCode::kDataLoss, {"router.json", "\"" + key + "\""});
    ExpectRefused(ReadWith(key, Json{{"x", 1}}), StatusCode::kDataLoss, {"router.json", "\"" + key + "\""});
  }
}

TEST_F(RouterArtifactTest, LoadSharesAreOptionalAndChecked) {
  EXPECT_TRUE(ReadRouterArtifact(path_)->manifest.load_shares.empty());
  RouterManifest manifest = Manifest();
  manifest.load_shares = {{0.75f, 0.25f}};
  ASSERT_TRUE(WriteRouterArtifact(dir_ / "measured", manifest, Tensors()).ok());
  EXPECT_EQ(ReadRouterArtifact(dir_ / "measured")->manifest.load_shares, manifest.load_shares);
  for (const Json& bad : {Json("x"), Json::array(), Json({{0.5, 0.5}, {0.5, 0.5}}), Json::array({Json::array({1.0})}),
                          Json::array({{0.5, 0.4}}), Json::array({{-0.5, 1.5}}), Json::array({{nullptr, 1.0}}), Json::array({1, 2})}) {
    ExpectRefused(ReadWith("load_shares", bad), StatusCode::kDataLoss, {"router.json", "\"load_shares\"", "1 lists of 2 shares"});
  }
}

TEST_F(RouterArtifactTest, HowItWasTrainedIsOptionalAndShort) {
  EXPECT_TRUE(ReadRouterArtifact(path_)->manifest.training.empty());
  RouterManifest manifest = Manifest();
  manifest.training = {{"gate", "raw"}, {"balance", "0.1"}};
  ASSERT_TRUE(WriteRouterArtifact(dir_ / "told", manifest, Tensors()).ok());
  EXPECT_EQ(ReadRouterArtifact(dir_ / "told")->manifest.training, manifest.training);
  Json many = Json::object();
  for (int i = 0; i < 65; ++i) many[std::to_string(i)] = "1";
  for (const Json& bad : {Json("x"), Json::array(), Json({{"steps", 3}}), Json({{"gate", std::string(513, 'x')}}), many}) {
    ExpectRefused(ReadWith("training", bad), StatusCode::kDataLoss, {"router.json", "\"training\"", "at most 64 texts"});
  }
}

TEST_F(RouterArtifactTest, RefusesValuesItCannotServe) {
  ExpectRefused(ReadWith("format_version", 2), StatusCode::kUnimplemented, {"format_version 2", "expected 1"});
  ExpectRefused(ReadWith("mixing", "linear"), StatusCode::kUnimplemented, {"linear", "ffn"});
  ExpectRefused(ReadWith("causal", false), StatusCode::kUnimplemented, {"causal"});
  ExpectRefused(ReadWith("new_field", 1), StatusCode::kUnimplemented, {"new_field"});
  ExpectRefused(ReadWith("top_k", 0), StatusCode::kDataLoss, {"top_k 0", "1 to 2"});
  ExpectRefused(ReadWith("top_k", 3), StatusCode::kDataLoss, {"top_k 3", "1 to 2"});
  ExpectRefused(ReadWith("num_layers", 100000), StatusCode::kDataLoss, {"num_layers 100000"});
  ExpectRefused(ReadWith("experts", Json::array()), StatusCode::kDataLoss, {"experts"});
  const Json one = {{"name", "a"}, {"generation", "g"}, {"is_zero", false}};
  ExpectRefused(ReadWith("experts", {one, one}), StatusCode::kDataLoss, {"\"a\"", "twice"});
}

TEST_F(RouterArtifactTest, HashAndValuesAreChecked) {
  std::string bytes = ReadText(path_ + "/router.safetensors");
  bytes.back() ^= 1;
  WriteText(path_ + "/router.safetensors", bytes);
  ExpectRefused(ReadRouterArtifact(path_).status(), StatusCode::kDataLoss, {"router.safetensors", "SHA-256", "expects"});
  ASSERT_TRUE(WriteRouterArtifact(dir_ / "nan", Manifest(), Tensors(std::numeric_limits<float>::quiet_NaN())).ok());
  ExpectRefused(ReadRouterArtifact(dir_ / "nan").status(), StatusCode::kDataLoss, {"layers.0.router.weight", "element 3"});
}

TEST_F(RouterArtifactTest, HostileManifest) {
  WriteText(path_ + "/router.json", "{\"x\":" + std::string(400000, '[') + std::string(400000, ']') + "}");
  ExpectRefused(ReadRouterArtifact(path_).status(), StatusCode::kDataLoss, {"router.json", "nested too deeply"});
  WriteText(path_ + "/router.json", "{\"name\":\"a\",\"name\":\"b\"}");
  ExpectRefused(ReadRouterArtifact(path_).status(), StatusCode::kDataLoss, {"\"name\" appears twice"});
  std::filesystem::remove(path_ + "/router.json");
  ExpectRefused(ReadRouterArtifact(path_).status(), StatusCode::kNotFound, {"router.json"});
}

TEST(RouterBinding, NamesWhatDiffers) {
  const RouterManifest m = Manifest();
  EXPECT_TRUE(CheckRouterBinding(m, m.base_generation, m.experts).ok());
  ExpectRefused(CheckRouterBinding(m, std::string(64, 'c'), m.experts), StatusCode::kFailedPrecondition,
                {std::string(64, 'a'), std::string(64, 'c')});
  auto swapped = m.experts;
  std::swap(swapped[0], swapped[1]);
  ExpectRefused(CheckRouterBinding(m, m.base_generation, swapped), StatusCode::kFailedPrecondition,
                {"[law@bbbbbbbbbbbb, zero@zero]", "[zero@zero, law@"});
  auto retrained = m.experts;
  retrained[0].generation = std::string(64, 'd');
  EXPECT_EQ(CheckRouterBinding(m, m.base_generation, retrained).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(CheckRouterBinding(m, m.base_generation, {m.experts[0]}).code(), StatusCode::kFailedPrecondition);
}

class FixturesTest : public testing::Test {
 protected:
  static RandomBaseOptions Base(const std::string& directory) {
    RandomBaseOptions o;
    o.directory = directory;
    o.config.architecture = Architecture::kLlama;
    o.config.hidden_size = 12;
    o.config.intermediate_size = 20;
    o.config.num_layers = 2;
    o.config.num_heads = 3;
    o.config.num_kv_heads = 1;
    o.config.head_dim = 4;
    o.config.vocab_size = 17;
    o.config.max_positions = 64;
    o.config.attention_bias = o.config.attention_output_bias = true;
    o.config.rope.linear_factor = 2.0;
    return o;
  }
  FixtureOptions Fixtures(const std::string& out, const std::string& kind) const {
    FixtureOptions o;
    o.base_directory = dir_ / "base";
    o.out_directory = dir_ / out;
    o.experts = {{"law", 3}, {"code", 5}};
    o.router_kind = kind;
    return o;
  }
  TempDirectory dir_;
};

TEST_F(FixturesTest, RandomBaseSaysWhatItHolds) {
  ASSERT_TRUE(WriteRandomBase(Base(dir_ / "base")).ok());
  const auto config = ReadModelConfig(dir_ / "base");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_TRUE(config->attention_bias && config->attention_output_bias);
  EXPECT_EQ(config->rope.linear_factor, 2.0);
  ASSERT_TRUE(WriteRandomBase(Base(dir_ / "again")).ok());
  EXPECT_EQ(ReadText(dir_ / "base/model.safetensors"), ReadText(dir_ / "again/model.safetensors"));
  auto other = Base(dir_ / "other");
  other.seed = 2;
  ASSERT_TRUE(WriteRandomBase(other).ok());
  EXPECT_NE(ReadText(dir_ / "base/model.safetensors"), ReadText(dir_ / "other/model.safetensors"));
  ExpectRefused(WriteRandomBase(Base(dir_ / "base")), StatusCode::kAlreadyExists, {"base"});
}

TEST_F(FixturesTest, ExpertsAndRouterFitTogetherAndRepeat) {
  ASSERT_TRUE(WriteRandomBase(Base(dir_ / "base")).ok());
  for (const std::string kind : {"dense2moe_mlp", "linear"}) {
    SCOPED_TRACE(kind);
    ASSERT_TRUE(WriteFixtures(Fixtures(kind, kind)).ok());
    const auto config = ReadModelConfig(dir_ / "base");
    const auto artifact = ReadRouterArtifact(dir_ / (kind + "/router"));
    ASSERT_TRUE(artifact.ok()) << artifact.status();
    EXPECT_TRUE(artifact->manifest.untrained);
    EXPECT_EQ(artifact->manifest.golden_probes, 4);
    std::vector<RouterExpertBinding> experts;
    for (const auto& [name, rank] : {std::pair{"law", 3}, std::pair{"code", 5}}) {
      const auto adapter = ReadPeftAdapter(dir_ / (kind + "/experts/" + name), *config, {});
      ASSERT_TRUE(adapter.ok()) << adapter.status();
      EXPECT_TRUE(adapter->untrained);
      EXPECT_EQ(adapter->max_rank, rank);
      experts.push_back({name, adapter->generation, false});
    }
    experts.push_back({"zero", "zero", true});
    const auto fingerprint = BaseFingerprint(dir_ / "base");
    ASSERT_TRUE(fingerprint.ok()) << fingerprint.status();
    const Status bound = CheckRouterBinding(artifact->manifest, *fingerprint, experts);
    EXPECT_TRUE(bound.ok()) << bound;
    ASSERT_TRUE(WriteFixtures(Fixtures(kind + "2", kind)).ok());
    EXPECT_EQ(ReadRouterArtifact(dir_ / (kind + "2/router"))->generation, artifact->generation);
  }
}

TEST_F(FixturesTest, RefusesBadOptions) {
  ASSERT_TRUE(WriteRandomBase(Base(dir_ / "base")).ok());
  auto o = Fixtures("f", "linear");
  o.experts[1].name = "../x";
  ExpectRefused(WriteFixtures(o), StatusCode::kInvalidArgument, {"../x"});
  o.experts[1].name = "law";
  ExpectRefused(WriteFixtures(o), StatusCode::kInvalidArgument, {"law", "taken"});
  o = Fixtures("f", "mystery");
  ExpectRefused(WriteFixtures(o), StatusCode::kInvalidArgument, {"mystery"});
  o = Fixtures("f", "linear");
  o.top_k = 4;
  ExpectRefused(WriteFixtures(o), StatusCode::kInvalidArgument, {"top_k 4", "1 to 3"});
  EXPECT_FALSE(std::filesystem::exists(dir_ / "f"));
}

TEST_F(FixturesTest, FingerprintFollowsContentAndIgnoresABrokenCache) {
  ASSERT_TRUE(WriteRandomBase(Base(dir_ / "base")).ok());
  const std::string first = *BaseFingerprint(dir_ / "base"), cache = dir_ / "base/.switchyard-fingerprint";
  EXPECT_TRUE(std::filesystem::exists(cache));
  EXPECT_EQ(*BaseFingerprint(dir_ / "base"), first);
  WriteText(cache, "{broken");
  EXPECT_EQ(*BaseFingerprint(dir_ / "base"), first);
  std::string config = ReadText(dir_ / "base/config.json");
  WriteText(dir_ / "base/config.json", config + " ");
  EXPECT_NE(*BaseFingerprint(dir_ / "base"), first);
}

}  // namespace
}  // namespace switchyard
