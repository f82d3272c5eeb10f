#include "engine/artifact/peft_adapter.h"

#include <limits>

#include "engine/artifact/peft_config.h"
#include "engine/artifact/safetensors.h"
#include "nlohmann/json.hpp"
#include "tests/artifact/artifact_testing.h"

namespace switchyard {
namespace {
using absl::StatusCode;
using Json = nlohmann::json;

ModelConfig TinyBase() {
  ModelConfig base;
  base.hidden_size = 4;
  base.intermediate_size = 6;
  base.num_layers = 2;
  return base;
}

// A directory with an adapter of rank 2 on all three projections, to be damaged by the tests.
class PeftAdapterTest : public testing::Test {
 protected:
  PeftAdapterTest() {
    config_ = {
        {"peft_type", "LORA"}, {"r", 2}, {"lora_alpha", 6}, {"bias", "none"}, {"target_modules", {"gate_proj", "up_proj", "down_proj"}}};
    for (int layer = 0; layer < 2; ++layer) {
      for (const auto& [projection, in, out] :
           {std::tuple{"gate_proj", 4, 6}, std::tuple{"up_proj", 4, 6}, std::tuple{"down_proj", 6, 4}}) {
        const std::string module = Mlp(layer) + projection;
        tensors_[module + ".lora_A.weight"] = FloatTensor("", {2, in}, std::vector<float>(2 * in, 0.5f));
        tensors_[module + ".lora_B.weight"] = FloatTensor("", {out, 2}, std::vector<float>(2 * out, 0.25f));
      }
    }
  }
  static std::string Mlp(int layer) { return "base_model.model.model.layers." + std::to_string(layer) + ".mlp."; }

  StatusOr<PeftAdapter> Read(const PeftReadOptions& options = {}) {
    std::vector<TensorView> views;
    for (auto [name, view] : tensors_) {
      view.name = name;
      views.push_back(view);
    }
    WriteText(dir_ / "adapter_config.json", config_.dump());
    const Status written = WriteSafetensors(dir_ / "adapter_model.safetensors", views, {});
    EXPECT_TRUE(written.ok()) << written;
    return ReadPeftAdapter(dir_.path(), TinyBase(), options);
  }
  void AddAttention() {
    tensors_["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"] = FloatTensor("", {2, 4}, std::vector<float>(8, 1));
    tensors_["base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"] = FloatTensor("", {4, 2}, std::vector<float>(8, 1));
    config_["target_modules"].push_back("q_proj");
  }

  TempDirectory dir_;
  Json config_;
  std::map<std::string, TensorView> tensors_;
};

TEST_F(PeftAdapterTest, ReadsAndReportsCoverage) {
  const auto adapter = Read();
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  EXPECT_EQ(adapter->coverage.expected, 12);
  EXPECT_EQ(adapter->coverage.loaded, 12);
  EXPECT_TRUE(adapter->coverage.missing.empty() && adapter->coverage.ignored.empty());
  ASSERT_EQ(adapter->layers.size(), 2u);
  EXPECT_EQ(adapter->layers[1].down->scale, 3.0);
  EXPECT_EQ(adapter->layers[1].down->b.shape, (std::vector<int64_t>{4, 2}));
  EXPECT_EQ(adapter->max_rank, 2);
  EXPECT_FALSE(adapter->untrained);
}

TEST_F(PeftAdapterTest, GenerationCoversConfigAndWeights) {
  const std::string first = Read()->generation;
  EXPECT_EQ(first.size(), 64u);
  EXPECT_EQ(Read()->generation, first);
  config_["lora_alpha"] = 7;
  const std::string other_config = Read()->generation;
  EXPECT_NE(other_config, first);
  config_["lora_alpha"] = 6;
  tensors_[Mlp(0) + "up_proj.lora_A.weight"] = FloatTensor("", {2, 4}, std::vector<float>(8, 0.75f));
  EXPECT_NE(Read()->generation, first);
}

TEST_F(PeftAdapterTest, ReadsKeysWithoutThePrefixButNotBoth) {
  auto bare = tensors_;
  tensors_.clear();
  for (const auto& [name, view] : bare) tensors_[name.substr(std::strlen("base_model.model."))] = view;
  EXPECT_TRUE(Read().ok());
  const std::string name = Mlp(1) + "up_proj.lora_B.weight";
  tensors_[name] = bare[name];
  ExpectRefused(Read().status(), StatusCode::kDataLoss,
                {"adapter_model.safetensors", "up_proj.lora_B.weight", "with and without the prefix"});
}

TEST_F(PeftAdapterTest, MissingHalfOfAPair) {
  tensors_.erase(Mlp(1) + "up_proj.lora_B.weight");
  ExpectRefused(Read().status(), StatusCode::kDataLoss,
                {"adapter_model.safetensors", "1 of 12", "model.layers.1.mlp.up_proj.lora_B.weight"});
}

TEST_F(PeftAdapterTest, WrongShapeSaysExpectedAndFound) {
  tensors_[Mlp(0) + "gate_proj.lora_A.weight"] = FloatTensor("", {2, 5}, std::vector<float>(10, 1));
  ExpectRefused(Read().status(), StatusCode::kInvalidArgument, {"model.layers.0.mlp.gate_proj.lora_A.weight", "[2, 4]", "[2, 5]"});
}

TEST_F(PeftAdapterTest, NanAndInfinityAreNamedWithTheirIndex) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> values(8, 1);
    values[5] = bad;
    tensors_[Mlp(0) + "gate_proj.lora_A.weight"] = FloatTensor("", {2, 4}, values);
    ExpectRefused(Read().status(), StatusCode::kDataLoss, {"model.layers.0.mlp.gate_proj.lora_A.weight", "element 5"});
  }
}

TEST_F(PeftAdapterTest, ZeroDeltaOnlyWhenAllowed) {
  for (auto& [name, view] : tensors_) {
    if (name.ends_with("lora_B.weight")) view = FloatTensor("", view.shape, std::vector<float>(view.elements(), 0));
  }
  ExpectRefused(Read().status(), StatusCode::kInvalidArgument, {"adapter_model.safetensors", "zero"});
  EXPECT_TRUE(Read({.allow_zero_delta = true}).ok());
}

TEST_F(PeftAdapterTest, AttentionOnlyWhenAllowed) {
  AddAttention();
  ExpectRefused(Read().status(), StatusCode::kUnimplemented, {"self_attn.q_proj.lora_A.weight", "attention"});
  const auto adapter = Read({.allow_attention = true});
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  EXPECT_EQ(adapter->coverage.ignored.size(), 2u);
}

TEST_F(PeftAdapterTest, ForeignAndUntargetedTensors) {
  tensors_["base_model.model.lm_head.weight"] = FloatTensor("", {1}, {1});
  ExpectRefused(Read({.allow_attention = true}).status(), StatusCode::kUnimplemented, {"lm_head.weight"});
  tensors_.erase("base_model.model.lm_head.weight");
  config_["target_modules"] = {"gate_proj", "up_proj"};
  ExpectRefused(Read().status(), StatusCode::kDataLoss, {"down_proj.lora_A.weight", "does not target"});
}

TEST_F(PeftAdapterTest, LayersBeyondTheBaseAreRefused) {
  tensors_[Mlp(2) + "up_proj.lora_A.weight"] = FloatTensor("", {2, 4}, std::vector<float>(8, 1));
  ExpectRefused(Read().status(), StatusCode::kUnimplemented, {"model.layers.2.mlp.up_proj.lora_A.weight"});
}

TEST_F(PeftAdapterTest, DamagedAndAbsentFiles) {
  ASSERT_TRUE(Read().ok());
  const std::string weights = dir_ / "adapter_model.safetensors", whole = ReadText(weights);
  for (const size_t n : {size_t{0}, size_t{7}, size_t{9}, whole.size() / 2, whole.size() - 1}) {
    WriteText(weights, whole.substr(0, n));
    ExpectRefused(ReadPeftAdapter(dir_.path(), TinyBase(), {}).status(), StatusCode::kDataLoss, {weights});
  }
  std::filesystem::remove(weights);
  ExpectRefused(ReadPeftAdapter(dir_.path(), TinyBase(), {}).status(), StatusCode::kNotFound, {weights});
  WriteText(dir_ / "adapter_model.bin", "x");
  ExpectRefused(ReadPeftAdapter(dir_.path(), TinyBase(), {}).status(), StatusCode::kUnimplemented, {"adapter_model.bin"});
  std::filesystem::remove(dir_ / "adapter_config.json");
  ExpectRefused(ReadPeftAdapter(dir_.path(), TinyBase(), {}).status(), StatusCode::kNotFound, {"adapter_config.json"});
}

Json GoodConfig() { return {{"peft_type", "LORA"}, {"r", 2}, {"target_modules", {"up_proj"}}}; }

TEST(PeftConfig, RefusesByName) {
  const std::vector<std::pair<std::string, Json>> refused = {{"use_dora", true},
                                                             {"fan_in_fan_out", true},
                                                             {"modules_to_save", {"lm_head"}},
                                                             {"lora_bias", true},
                                                             {"bias", "all"},
                                                             {"bias", "lora_only"},
                                                             {"layer_replication", {{0, 1}}},
                                                             {"trainable_token_indices", {1}},
                                                             {"megatron_config", {{"a", 1}}},
                                                             {"use_qalora", true},
                                                             {"alora_invocation_tokens", {1}},
                                                             {"target_parameters", {"x"}},
                                                             {"use_bdlora", {{"a", 1}}},
                                                             {"arrow_config", {{"a", 1}}},
                                                             {"kasa_config", {{"a", 1}}},
                                                             {"monteclora_config", {{"a", 1}}},
                                                             {"peft_type", "IA3"},
                                                             {"peft_type", nullptr},
                                                             {"something_new", 1},
                                                             {"target_modules", "(?=x)up"},
                                                             {"rank_pattern", {{"(", 1}}}};
  for (const auto& [key, value] : refused) {
    SCOPED_TRACE(key + " = " + value.dump());
    Json json = GoodConfig();
    json[key] = value;
    ExpectRefused(PeftConfig::Parse(json.dump(), "adapter_config.json").status(), StatusCode::kUnimplemented, {"adapter_config.json", key});
  }
}

// Such an adapter belongs to a base whose weights were changed; served over the plain base it would answer wrongly and look healthy.
TEST(PeftConfig, InitialisationsThatChangeTheBaseAreRefusedWithWhatToDo) {
  const auto parse = [](const Json& value) {
    Json json = GoodConfig();
    json["init_lora_weights"] = value;
    return PeftConfig::Parse(json.dump(), "adapter_config.json").status();
  };
  for (const char* name : {"pissa", "pissa_niter_16", "PiSSA", "corda", "olora", "OLoRA", "lora_ga"}) {
    SCOPED_TRACE(name);
    ExpectRefused(parse(name), StatusCode::kUnimplemented,
                  {"adapter_config.json", "init_lora_weights", name, "path_initial_model_for_weight_conversion"});
  }
  ExpectRefused(parse("loftq"), StatusCode::kUnimplemented, {"init_lora_weights", "loftq", "no conversion"});
  ExpectRefused(parse("something_new"), StatusCode::kUnimplemented, {"init_lora_weights", "something_new"});
  ExpectRefused(parse(1), StatusCode::kDataLoss, {"init_lora_weights", "found 1"});
  ExpectRefused(parse(Json::array()), StatusCode::kDataLoss, {"init_lora_weights"});
  for (const Json& harmless : {Json(true), Json(false), Json(), Json("gaussian"), Json("eva"), Json("orthogonal"), Json("mica")}) {
    EXPECT_TRUE(parse(harmless).ok()) << harmless.dump() << ": " << parse(harmless);
  }
}

TEST(PeftConfig, RangesAndTypes) {
  const std::vector<std::pair<std::string, Json>> bad = {{"r", 0},
                                                         {"r", -1},
                                                         {"r", 1.5},
                                                         {"r", 1e9},
                                                         {"r", "2"},
                                                         {"lora_alpha", 0},
                                                         {"lora_alpha", -1},
                                                         {"lora_alpha", "x"},
                                                         {"use_rslora", 1},
                                                         {"target_modules", nullptr},
                                                         {"target_modules", {1}},
                                                         {"layers_to_transform", {"a"}},
                                                         {"layers_pattern", "layers"},
                                                         {"rank_pattern", {{"x", 0}}},
                                                         {"alpha_pattern", {{"x", "y"}}},
                                                         {"rank_pattern", 3}};
  for (const auto& [key, value] : bad) {
    SCOPED_TRACE(key + " = " + value.dump());
    Json json = GoodConfig();
    json[key] = value;
    ExpectRefused(PeftConfig::Parse(json.dump(), "c").status(), StatusCode::kDataLoss, {key});
  }
}

TEST(PeftConfig, HostileJson) {
  ExpectRefused(PeftConfig::Parse("{\"r\":1,\"r\":2}", "c").status(), StatusCode::kDataLoss, {"\"r\" appears twice"});
  const std::string deep = std::string(400000, '[') + std::string(400000, ']');
  ExpectRefused(PeftConfig::Parse("{\"peft_type\":" + deep + "}", "c").status(), StatusCode::kDataLoss, {"nested too deeply"});
  ExpectRefused(PeftConfig::Parse("nonsense", "c").status(), StatusCode::kDataLoss, {"not valid JSON"});
}

TEST(PeftConfig, RanksAndScalesAreThosePeftComputes) {
  const Json cases = Json::parse(ReadText("tests/golden/artifact/peft.json"));
  ASSERT_EQ(cases.size(), 12u);
  for (const auto& [name, c] : cases.items()) {
    SCOPED_TRACE(name);
    const auto config = PeftConfig::Parse(c["config"].get<std::string>(), name);
    ASSERT_TRUE(config.ok()) << config.status();
    for (int32_t layer = 0; layer < 3; ++layer) {
      for (const char* projection : {"gate_proj", "up_proj", "down_proj"}) {
        const std::string module = "model.layers." + std::to_string(layer) + ".mlp." + projection;
        ASSERT_EQ(config->Targets(module, layer), c["modules"].contains(module)) << module;
        if (!config->Targets(module, layer)) continue;
        EXPECT_EQ(config->Rank(module), c["modules"][module][0].get<int32_t>()) << module;
        EXPECT_DOUBLE_EQ(config->Scale(module), c["modules"][module][1].get<double>()) << module;
      }
    }
  }
}

}  // namespace
}  // namespace switchyard
