#include "engine/artifact/mixlora_import.h"

#include <cmath>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "engine/artifact/element.h"
#include "engine/artifact/model_config.h"
#include "engine/artifact/peft_adapter.h"
#include "engine/artifact/router_artifact.h"
#include "engine/artifact/safetensors.h"
#include "engine/artifact/torch_pickle.h"
#include "tests/artifact/artifact_testing.h"
#include "tests/artifact/torch_builder.h"

namespace switchyard {
namespace {

namespace fs = std::filesystem;
using Code = absl::StatusCode;
using Json = nlohmann::json;
using Tensors = std::map<std::string, TensorView>;
const std::string kGoldens = "tests/golden/artifact/mixlora/";

class MixLoraImportTest : public testing::Test {
 protected:
  MixLoraImportTest() {
    fs::copy(kGoldens + "base", temp_ / "base", fs::copy_options::recursive);  // the fingerprint is cached beside a base
    options_.adapter_directory = kGoldens + "today";
    options_.base_directory = temp_ / "base";
    options_.out_directory = temp_ / "out";
  }

  static Tensors TensorsOf(const std::string& golden) {
    return (*TorchPickleFile::Open(kGoldens + golden + "/adapter_model.bin"))->tensors();
  }

  // Imports a copy of a golden adapter after `change`.
  StatusOr<MixLoraReport> ImportChanged(const std::string& golden, const std::function<void(Json*, Tensors*)>& change) {
    Json config = Json::parse(ReadText(kGoldens + golden + "/adapter_config.json"));
    Tensors tensors = TensorsOf(golden);
    change(&config, &tensors);
    options_.adapter_directory = temp_ / "changed";
    WriteText(temp_ / "changed/adapter_config.json", config.dump());
    WriteText(temp_ / "changed/adapter_model.bin", testing_torch::TorchFile(tensors));
    return ImportMixLora(options_);
  }
  StatusOr<MixLoraReport> WithField(const std::string& name, const Json& value) {
    return ImportChanged("today", [&](Json* config, Tensors*) { (*config)[name] = value; });
  }

  void ExpectNothingWritten() {
    for (const auto& entry : fs::directory_iterator(temp_.path()))
      EXPECT_FALSE(entry.path().filename().string().starts_with("out")) << entry.path();
  }

  TempDirectory temp_;
  MixLoraOptions options_;
};

TEST_F(MixLoraImportTest, MakesExpertsAndALinearRouterBoundToThem) {
  options_.experts = {"law", "med", "code"};
  const auto report = ImportMixLora(options_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->layers, 2);
  EXPECT_EQ(report->top_k, 2);
  EXPECT_EQ(report->rank, 2);
  EXPECT_FALSE(report->merged_base);
  const auto base = ReadModelConfig(options_.base_directory);
  ASSERT_TRUE(base.ok()) << base.status();
  const Tensors golden = TensorsOf("today");
  std::vector<RouterExpertBinding> loaded;
  for (int e = 0; e < 3; ++e) {
    const auto adapter = ReadPeftAdapter(temp_ / "out/experts/" + options_.experts[e], *base, {});
    ASSERT_TRUE(adapter.ok()) << adapter.status();
    loaded.push_back({options_.experts[e], adapter->generation, false});
    const LoraPair& down = *adapter->layers[1].down;
    EXPECT_EQ(down.scale, 2.0);
    const std::string module = "mixlora.layers.1.mlp.down_proj.experts." + std::to_string(e);
    EXPECT_EQ(FirstDifference(down.a, golden.at(module + ".lora_A.weight")), std::nullopt);
    EXPECT_EQ(FirstDifference(down.b, golden.at(module + ".lora_B.weight")), std::nullopt);
  }
  const auto router = ReadRouterArtifact(temp_ / "out/router");
  ASSERT_TRUE(router.ok()) << router.status();
  EXPECT_EQ(router->manifest.kind, "linear");
  EXPECT_EQ(router->manifest.weight_mode, "renorm");
  EXPECT_TRUE(CheckRouterBinding(router->manifest, *BaseFingerprint(options_.base_directory), loaded).ok());
  const auto gate = router->tensors->Get("layers.1.router.weight");
  ASSERT_TRUE(gate.ok()) << gate.status();
  EXPECT_EQ(FirstDifference(*gate, golden.at("mixlora.layers.1.mlp.moe_gate.weight")), std::nullopt);
}

TEST_F(MixLoraImportTest, AttentionIsMergedIntoABaseOfItsOwnOrRefused) {
  options_.adapter_directory = kGoldens + "attention";
  ExpectRefused(ImportMixLora(options_).status(), Code::kFailedPrecondition, {"adapter_config.json", "attention"});
  ExpectNothingWritten();
  options_.merge_attention = true;
  const auto report = ImportMixLora(options_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_TRUE(report->merged_base);
  EXPECT_EQ(report->rank, 3);
  const auto adapter = ReadPeftAdapter(temp_ / "out/experts/expert2", *ReadModelConfig(temp_ / "out/base"), {});
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  EXPECT_NEAR(adapter->layers[0].gate->scale, 6 / std::sqrt(3.0), 1e-12);
  const Tensors golden = TensorsOf("attention");
  EXPECT_EQ(FirstDifference(adapter->layers[0].up->b, golden.at("mixlora.layers.0.experts.2.w3_proj.lora_B.weight")), std::nullopt);
  EXPECT_EQ(FirstDifference(adapter->layers[0].down->a, golden.at("mixlora.layers.0.experts.2.w2_proj.lora_A.weight")), std::nullopt);
  const auto router = ReadRouterArtifact(temp_ / "out/router");
  ASSERT_TRUE(router.ok()) << router.status();
  EXPECT_EQ(router->manifest.base_generation, *BaseFingerprint(temp_ / "out/base"));
  EXPECT_NE(router->manifest.base_generation, *BaseFingerprint(options_.base_directory));
  // Only attention's projections changed.
  const auto before = SafetensorsSet::OpenModelDirectory(options_.base_directory),
             after = SafetensorsSet::OpenModelDirectory(temp_ / "out/base");
  ASSERT_TRUE(before.ok() && after.ok());
  ASSERT_EQ((*before)->tensors().size(), (*after)->tensors().size());
  for (const auto& [name, view] : (*before)->tensors()) {
    const bool changed = FirstDifference(view, (*after)->tensors().at(name)).has_value();
    EXPECT_EQ(changed, name.find("self_attn") != std::string::npos) << name;
  }
}

TEST_F(MixLoraImportTest, AMissingProjectionIsTheBases) {
  const auto report = ImportChanged("today", [](Json* config, Tensors* tensors) {
    (*config)["target_modules"] = {{"gate_proj", true}, {"up_proj", false}, {"down_proj", true}, {"fc1", true}};
    std::erase_if(*tensors, [](const auto& entry) { return entry.first.find("up_proj") != std::string::npos; });
  });
  ASSERT_TRUE(report.ok()) << report.status();
  const auto adapter = ReadPeftAdapter(temp_ / "out/experts/expert0", *ReadModelConfig(options_.base_directory), {});
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  EXPECT_FALSE(adapter->layers[0].up.has_value());
  EXPECT_TRUE(adapter->layers[0].down.has_value());
}

TEST_F(MixLoraImportTest, ConfigurationsThatComputeSomethingElseAreRefusedByName) {
  ExpectRefused(WithField("peft_type", "LORA").status(), Code::kUnimplemented, {"peft_type", "LORA", "MIXLORA"});
  ExpectRefused(WithField("peft_type", "XLORA").status(), Code::kUnimplemented, {"X-LoRA", "first pass"});
  ExpectRefused(WithField("routing_strategy", "mixlora-switch").status(), Code::kUnimplemented, {"routing_strategy", "mixlora-switch"});
  ExpectRefused(WithField("use_dora", true).status(), Code::kUnimplemented, {"use_dora"});
  ExpectRefused(WithField("act_fn", "gelu").status(), Code::kUnimplemented, {"act_fn", "gelu", "silu"});
  ExpectRefused(WithField("bias", "all").status(), Code::kUnimplemented, {"bias"});
  ExpectRefused(WithField("sparse_step", 2).status(), Code::kUnimplemented, {"sparse_step"});
  ExpectRefused(WithField("expert_lora", {{"use_dora", true}}).status(), Code::kUnimplemented, {"expert_lora", "use_dora"});
  ExpectRefused(WithField("target_modules", {"gate_proj", "lm_head"}).status(), Code::kUnimplemented, {"lm_head"});
  ExpectRefused(WithField("target_modules", 3).status(), Code::kDataLoss, {"target_modules", "3"});
  ExpectRefused(WithField("top_k", 4).status(), Code::kDataLoss, {"top_k", "4 of 3"});
  ExpectRefused(WithField("num_experts", 0).status(), Code::kDataLoss, {"num_experts", "0"});
  ExpectRefused(WithField("r", -2).status(), Code::kDataLoss, {"\"r\"", "-2"});
  ExpectRefused(WithField("lora_alpha", 0).status(), Code::kDataLoss, {"lora_alpha"});
  WriteText(temp_ / "changed/xlora_config.json", "{}");
  ExpectRefused(ImportMixLora(options_).status(), Code::kUnimplemented, {"X-LoRA"});
  ExpectNothingWritten();
}

TEST_F(MixLoraImportTest, WeightsMustBeWhatTheConfigurationSays) {
  const std::string up = "mixlora.layers.1.mlp.up_proj.experts.1.lora_B.weight";
  ExpectRefused(ImportChanged("today", [&](Json*, Tensors* t) { t->erase(up); }).status(), Code::kDataLoss, {up, "missing"});
  ExpectRefused(
      ImportChanged("today", [&](Json*, Tensors* t) { (*t)["mixlora.layers.2.mlp.moe_gate.weight"] = t->begin()->second; }).status(),
      Code::kUnimplemented, {"mixlora.layers.2.mlp.moe_gate.weight"});
  ExpectRefused(ImportChanged("today", [&](Json*, Tensors* t) { (*t)["layers.0.lora_route.weight"] = t->begin()->second; }).status(),
                Code::kUnimplemented, {"LoRAMoE", "lora_route"});
  ExpectRefused(ImportChanged("today", [&](Json*, Tensors* t) { (*t)["mixlora.layers.0.gate.weight"] = t->begin()->second; }).status(),
                Code::kDataLoss, {"moe_gate", "two names"});
  ExpectRefused(WithField("r", 3).status(), Code::kInvalidArgument, {"A is [2, 16]", "expected [3, 16]"});
  ExpectRefused(WithField("num_experts", 2).status(), Code::kInvalidArgument, {"moe_gate", "[3, 16]", "[2, 16]"});
  ExpectRefused(ImportChanged("today",
                              [&](Json*, Tensors* t) {
                                (*t)[up] = FloatTensor("", {24, 2}, std::vector<float>(48, NAN));
                              })
                    .status(),
                Code::kDataLoss, {up, "not finite"});
  options_.adapter_directory = kGoldens + "today";
  options_.experts = {"a", "b"};
  ExpectRefused(ImportMixLora(options_).status(), Code::kInvalidArgument, {"3 experts", "2 names"});
  options_.experts = {"a", "b", "../c"};
  ExpectRefused(ImportMixLora(options_).status(), Code::kInvalidArgument, {"../c"});
  ExpectNothingWritten();
}

}  // namespace
}  // namespace switchyard
