#include "engine/artifact/dense2moe_import.h"

#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>

#include "engine/artifact/element.h"
#include "engine/artifact/finite.h"
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
using Tensors = std::map<std::string, TensorView>;
const std::string kGoldens = "tests/golden/artifact/dense2moe/";
const std::string kLayer = "base_model.model.layers.1.mlp.";

class Dense2MoeImportTest : public testing::Test {
 protected:
  Dense2MoeImportTest() {
    fs::copy(kGoldens + "base", temp_ / "base", fs::copy_options::recursive);  // the fingerprint is cached beside a base
    options_.checkpoint = kGoldens + "pytorch_model.bin";
    options_.base_directory = temp_ / "base";
    options_.out_directory = temp_ / "out";
    options_.experts = {"code", "law", "zero"};
    options_.top_k = 2;
    auto file = TorchPickleFile::Open(options_.checkpoint);
    golden_ = (*file)->tensors();
  }

  // Imports the golden checkpoint after `change`.
  StatusOr<Dense2MoeReport> ImportChanged(const std::function<void(Tensors*)>& change) {
    Tensors tensors = golden_;
    change(&tensors);
    options_.checkpoint = temp_ / "changed.bin";
    WriteText(options_.checkpoint, testing_torch::TorchFile(tensors));
    return ImportDense2Moe(options_);
  }

  static void RemoveLora(Tensors* tensors) {
    std::erase_if(*tensors, [](const auto& entry) { return entry.first.find(".experts.") != std::string::npos; });
  }

  // The pair of the golden checkpoint against one of an imported adapter.
  void ExpectPair(const LoraPair& pair, int32_t layer, int32_t expert, const std::string& name) {
    const std::string prefix = "base_model.model.layers." + std::to_string(layer) + ".mlp.experts." + std::to_string(expert) + "." + name;
    EXPECT_EQ(FirstDifference(pair.a, golden_.at(prefix + "A")), std::nullopt) << prefix;
    EXPECT_EQ(FirstDifference(pair.b, golden_.at(prefix + "B")), std::nullopt) << prefix;
  }

  void ExpectNothingWritten() {
    for (const auto& entry : fs::directory_iterator(temp_.path()))
      EXPECT_FALSE(entry.path().filename().string().starts_with("out")) << entry.path();
  }

  TempDirectory temp_;
  Dense2MoeOptions options_;
  Tensors golden_;
};

TEST_F(Dense2MoeImportTest, MakesExpertsAndARouterBoundToThem) {
  const auto report = ImportDense2Moe(options_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->layers, 2);
  // Embedding, final norm, head (tied), 9 tensors in each of two layers; an expert's copies share their storage.
  EXPECT_EQ(report->compared, 21);
  EXPECT_TRUE(report->notes.empty()) << report->notes[0];
  ASSERT_EQ(report->experts.size(), 3u);
  EXPECT_EQ(report->experts[1].max_rank, 2);
  EXPECT_EQ(report->experts[1].source, "checkpoint");
  EXPECT_TRUE(report->experts[2].is_zero);
  EXPECT_FALSE(fs::exists(temp_ / "out/experts/zero"));

  const auto base = ReadModelConfig(options_.base_directory);
  ASSERT_TRUE(base.ok()) << base.status();
  std::vector<RouterExpertBinding> loaded;
  for (int32_t e = 0; e < 2; ++e) {
    const auto adapter = ReadPeftAdapter(temp_ / "out/experts/" + options_.experts[e], *base, {});
    ASSERT_TRUE(adapter.ok()) << adapter.status();
    for (int32_t l = 0; l < 2; ++l) {
      const LoraLayer& layer = adapter->layers[l];
      ExpectPair(*layer.gate, l, e, "gate");
      ExpectPair(*layer.up, l, e, "up");
      ExpectPair(*layer.down, l, e, "down");
      EXPECT_EQ(layer.gate->scale, 2.0);
      EXPECT_EQ(layer.up->scale, e == 1 && l == 1 ? 1.5 : 2.0);
    }
    loaded.push_back({options_.experts[e], adapter->generation, false});
  }
  loaded.push_back({"zero", "zero", true});

  const auto router = ReadRouterArtifact(temp_ / "out/router");
  ASSERT_TRUE(router.ok()) << router.status();
  EXPECT_EQ(router->manifest.kind, "dense2moe_mlp");
  EXPECT_EQ(router->manifest.top_k, 2);
  EXPECT_EQ(router->manifest.weight_mode, "renorm");
  EXPECT_TRUE(router->manifest.round_probabilities_bf16);
  EXPECT_FALSE(router->manifest.untrained);
  EXPECT_TRUE(CheckRouterBinding(router->manifest, *BaseFingerprint(options_.base_directory), loaded).ok());
  EXPECT_EQ(router->tensors->tensors().size(), 8u);
  for (const auto& [own, theirs] :
       {std::pair{"fc1.weight", "0.weight"}, {"fc1.bias", "0.bias"}, {"fc2.weight", "3.weight"}, {"fc2.bias", "3.bias"}}) {
    const TensorView& source = golden_.at(kLayer + "router.net." + theirs);
    const auto written = router->tensors->Get(std::string("layers.1.router.") + own);
    ASSERT_TRUE(written.ok()) << written.status();
    EXPECT_EQ(written->dtype, DType::kBF16);
    EXPECT_EQ(written->shape, source.shape);
    EXPECT_EQ(FirstDifference(*written, source), std::nullopt) << own;
  }
}

TEST_F(Dense2MoeImportTest, TakesLoraFromAdapterDirectoriesWhenTheCheckpointHasNone) {
  EXPECT_FALSE(ImportChanged(RemoveLora).ok());
  ExpectRefused(ImportDense2Moe(options_).status(), Code::kInvalidArgument, {"changed.bin", "no LoRA", "code/final_adapter"});
  ExpectNothingWritten();
  options_.adapters_root = kGoldens + "adapters";
  const auto report = ImportDense2Moe(options_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->experts[0].source, kGoldens + "adapters/code/final_adapter");
  EXPECT_TRUE(report->experts[2].is_zero);
  ASSERT_EQ(report->notes.size(), 2u);
  EXPECT_THAT(report->notes[0], testing::HasSubstr("8 tensors outside the feed-forward blocks"));
  const auto adapter = ReadPeftAdapter(temp_ / "out/experts/law", *ReadModelConfig(options_.base_directory), {});
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  for (int32_t l = 0; l < 2; ++l) {
    ExpectPair(*adapter->layers[l].gate, l, 1, "gate");
    ExpectPair(*adapter->layers[l].down, l, 1, "down");
    EXPECT_EQ(adapter->layers[l].up->scale, 2.0);  // adapter directories say 2 everywhere
  }
}

TEST_F(Dense2MoeImportTest, AdaptersInPicklesAndTheirScales) {
  const auto weights = SafetensorsFile::Open(kGoldens + "adapters/code/final_adapter/adapter_model.safetensors");
  ASSERT_TRUE(weights.ok()) << weights.status();
  fs::create_directories(temp_ / "adapters");
  fs::copy(kGoldens + "adapters/law", temp_ / "adapters/law", fs::copy_options::recursive);
  Tensors tensors = (*weights)->tensors();
  const std::string gate = "base_model.model.model.layers.0.mlp.gate_proj", up = "base_model.model.model.layers.0.mlp.up_proj";
  tensors[gate + ".scaling"] = FloatTensor("", {1}, {0.75f});
  tensors[up + ".lora_alpha"] = FloatTensor("", {1}, {3.0f});
  WriteText(temp_ / "adapters/code/final_adapter/adapter_model.bin", testing_torch::TorchFile(tensors));
  options_.adapters_root = temp_ / "adapters";
  const auto report = ImportChanged(RemoveLora);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(report->notes, testing::Contains(testing::HasSubstr("code/final_adapter/adapter_config.json is not there")));
  const auto adapter = ReadPeftAdapter(temp_ / "out/experts/code", *ReadModelConfig(options_.base_directory), {});
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  EXPECT_EQ(adapter->layers[0].gate->scale, 0.75);
  EXPECT_EQ(adapter->layers[0].up->scale, 1.5);
  EXPECT_EQ(adapter->layers[0].down->scale, 2.0);
  ExpectPair(*adapter->layers[0].up, 0, 0, "up");
}

TEST_F(Dense2MoeImportTest, AdapterConfigurationsAreCheckedButTheScaleStaysDense2Moes) {
  fs::copy(kGoldens + "adapters", temp_ / "adapters", fs::copy_options::recursive);
  options_.adapters_root = temp_ / "adapters";
  const std::string path = temp_ / "adapters/code/final_adapter/adapter_config.json", config = ReadText(path);
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string text = config;
    EXPECT_NE(text.find(from), std::string::npos) << from;
    return text.replace(text.find(from), from.size(), to);
  };
  WriteText(path, replaced("\"use_dora\": false", "\"use_dora\": true"));
  ExpectRefused(ImportChanged(RemoveLora).status(), Code::kUnimplemented, {"use_dora", "code/final_adapter"});
  ExpectNothingWritten();
  WriteText(path, replaced("\"lora_alpha\": 4", "\"lora_alpha\": 6"));
  const auto report = ImportDense2Moe(options_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(
      report->notes,
      testing::Contains(testing::HasSubstr("gives a scale of 3 (first at layers.0.mlp.gate_proj); Dense2MoE does not read it and used 2")));
}

TEST_F(Dense2MoeImportTest, ATrainedLastExpertStaysALora) {
  const auto report = ImportChanged([&](Tensors* tensors) { (*tensors)[kLayer + "experts.2.upB"] = golden_.at(kLayer + "experts.1.upB"); });
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_FALSE(report->experts[2].is_zero);
  ASSERT_EQ(report->notes.size(), 1u);
  EXPECT_THAT(report->notes[0], testing::HasSubstr("was trained"));
  const auto router = ReadRouterArtifact(temp_ / "out/router");
  ASSERT_TRUE(router.ok()) << router.status();
  EXPECT_FALSE(router->manifest.experts[2].is_zero);
  const auto adapter = ReadPeftAdapter(temp_ / "out/experts/zero", *ReadModelConfig(options_.base_directory), {});
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  EXPECT_FALSE(AllZero(adapter->layers[1].up->b));
  EXPECT_EQ(adapter->generation, router->manifest.experts[2].generation);
}

TEST_F(Dense2MoeImportTest, OnlyTheLastExpertMayBeUntrained) {
  const auto report = ImportChanged([&](Tensors* tensors) {
    for (auto& [name, view] : *tensors) {
      if (name.find(".experts.0.") == std::string::npos || !name.ends_with("B")) continue;
      std::string other = name;
      view = golden_.at(other.replace(other.find(".experts.0."), 11, ".experts.2."));
    }
  });
  ExpectRefused(report.status(), Code::kInvalidArgument, {"expert 0 (\"code\")", "never trained"});
  ExpectNothingWritten();
}

TEST_F(Dense2MoeImportTest, AnotherNumberOfExpertsIsRefusedNamingBothLists) {
  options_.experts = {"code", "medical", "law", "math", "zero"};
  ExpectRefused(ImportDense2Moe(options_).status(), Code::kInvalidArgument,
                {"3 experts, [0, 1, 2]", "5 names are given: [code, medical, law, math, zero]"});
  options_.experts = {"code", "zero"};
  ExpectRefused(ImportDense2Moe(options_).status(), Code::kInvalidArgument, {"[0, 1, 2]", "[code, zero]"});
  ExpectNothingWritten();
}

TEST_F(Dense2MoeImportTest, OptionsAreChecked) {
  options_.experts = {"code", "law/..", "zero"};
  ExpectRefused(ImportDense2Moe(options_).status(), Code::kInvalidArgument, {"law/.."});
  options_.experts = {"code", "code", "zero"};
  ExpectRefused(ImportDense2Moe(options_).status(), Code::kInvalidArgument, {"\"code\" is given twice"});
  options_.experts = {"code", "law", "zero"};
  for (const int32_t k : {0, 4}) {
    options_.top_k = k;
    ExpectRefused(ImportDense2Moe(options_).status(), Code::kInvalidArgument, {"top_k", "expected 1 to 3"});
  }
  options_.top_k = 1;
  options_.round_probabilities_bf16 = false;
  ASSERT_TRUE(ImportDense2Moe(options_).ok());
  EXPECT_FALSE(ReadRouterArtifact(temp_ / "out/router")->manifest.round_probabilities_bf16);
  ExpectRefused(ImportDense2Moe(options_).status(), Code::kAlreadyExists, {"out"});
}

TEST_F(Dense2MoeImportTest, AnotherBaseIsRefusedUnlessAllowed) {
  const auto other = [&](Tensors* tensors) {
    (*tensors)[kLayer + "original_mlp.up_proj.weight"] = golden_.at(kLayer + "original_mlp.gate_proj.weight");
    // The copies in the experts no longer share the storage, so each is compared.
  };
  ExpectRefused(ImportChanged(other).status(), Code::kFailedPrecondition,
                {"original_mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight", "element 0"});
  ExpectNothingWritten();
  options_.ignore_base_difference = true;
  const auto report = ImportDense2Moe(options_);
  ASSERT_TRUE(report.ok()) << report.status();
  ASSERT_EQ(report->notes.size(), 1u);
  EXPECT_THAT(report->notes[0], testing::HasSubstr("1 of 39 base tensors differ"));
}

TEST_F(Dense2MoeImportTest, AnotherShapeIsNeverAllowed) {
  options_.ignore_base_difference = true;
  const auto embedding =
      ImportChanged([](Tensors* tensors) { (*tensors)["base_model.model.norm.weight"] = FloatTensor("", {8}, std::vector<float>(8, 1)); });
  ExpectRefused(embedding.status(), Code::kInvalidArgument, {"base_model.model.norm.weight", "[8]", "[16]", "another model"});
  const auto router =
      ImportChanged([](Tensors* tensors) { (*tensors)[kLayer + "router.net.0.bias"] = FloatTensor("", {9}, std::vector<float>(9, 1)); });
  ExpectRefused(router.status(), Code::kInvalidArgument, {"router.net.0.bias", "expected shape [8], found [9]"});
  const auto lora = ImportChanged([](Tensors* tensors) {
    (*tensors)[kLayer + "experts.0.gateB"] = FloatTensor("", {24, 3}, std::vector<float>(72, 1));
  });
  ExpectRefused(lora.status(), Code::kInvalidArgument, {"experts.0.gateB", "expected shape [24, 2], found [24, 3]"});
  ExpectNothingWritten();
}

TEST_F(Dense2MoeImportTest, ABaseOfAnotherDtypeIsTheSameUpToItsRounding) {
  const auto wide = [&](float factor) {
    return [this, factor](Tensors* tensors) {
      TensorView& view = tensors->at("base_model.model.embed_tokens.weight");
      std::vector<float> values;
      for (int64_t i = 0; i < view.elements(); ++i) values.push_back(static_cast<float>(ElementAt(view, i)) * factor);
      view = FloatTensor("", view.shape, values);
    };
  };
  ASSERT_TRUE(ImportChanged(wide(1 + 0x1p-10f)).ok());
  options_.out_directory = temp_ / "out2";
  ExpectRefused(ImportChanged(wide(1 + 0x1p-6f)).status(), Code::kFailedPrecondition, {"base_model.model.embed_tokens.weight"});
}

TEST_F(Dense2MoeImportTest, ACheckpointWithoutABaseIsImportedWithANote) {
  const auto report = ImportChanged([](Tensors* tensors) {
    std::erase_if(*tensors, [](const auto& entry) {
      return entry.first.find(".router.") == std::string::npos &&
             (entry.first.find(".experts.") == std::string::npos || entry.first.find("original_") != std::string::npos);
    });
  });
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->compared, 0);
  ASSERT_EQ(report->notes.size(), 1u);
  EXPECT_THAT(report->notes[0], testing::HasSubstr("no base tensors"));
}

TEST_F(Dense2MoeImportTest, WhatIsMissingOrUnknownIsNamed) {
  const std::tuple<std::string, Code, std::string> removed[] = {
      {"router.net.3.bias", Code::kDataLoss, "router.net.3.bias\" is missing"},
      {"experts.1.downA", Code::kDataLoss, "experts.1.downA\" is missing"},
      {"experts.2.gateB", Code::kDataLoss, "experts.2.gateB\" is missing"},
  };
  for (const auto& [name, code, message] : removed) {
    ExpectRefused(ImportChanged([&name = name](Tensors* tensors) { tensors->erase(kLayer + name); }).status(), code, {message});
  }
  const std::string unknown[] = {"model.layers.0.mlp.router.net.0.weight",
                                 "base_model.model.layers.2.mlp.router.net.0.weight",
                                 kLayer + "router.net.1.weight",
                                 kLayer + "experts.0.gateC",
                                 kLayer + "experts.x.gateA",
                                 kLayer + "experts.0.original_gate_proj.bias",
                                 "base_model.extra.weight"};
  for (const std::string& name : unknown) {
    const auto report = ImportChanged([&](Tensors* tensors) { (*tensors)[name] = FloatTensor("", {1}, {1}); });
    ExpectRefused(report.status(), Code::kUnimplemented, {"\"" + name + "\"", "Dense2MoE"});
  }
  const auto beyond = ImportChanged([](Tensors* tensors) {
    (*tensors)[kLayer + "experts.3.gateA"] = FloatTensor("", {2, 16}, std::vector<float>(32, 1));
  });
  ExpectRefused(beyond.status(), Code::kInvalidArgument, {"experts 0 to 3", "choose among 3"});
  ExpectNothingWritten();
}

TEST_F(Dense2MoeImportTest, BrokenValuesAreRefused) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto router = ImportChanged([&](Tensors* tensors) {
    (*tensors)[kLayer + "router.net.3.bias"] = FloatTensor("", {3}, {1, nan, 1});
  });
  ExpectRefused(router.status(), Code::kDataLoss, {"router.net.3.bias", "element 1"});
  for (const float scale : {0.0f, -2.0f, nan}) {
    const auto report = ImportChanged([&](Tensors* tensors) { (*tensors)[kLayer + "experts.0.upScale"] = FloatTensor("", {1}, {scale}); });
    ExpectRefused(report.status(), Code::kInvalidArgument, {"experts.0.upScale", "positive scale"});
  }
  const auto two = ImportChanged([](Tensors* tensors) { (*tensors)[kLayer + "experts.0.upScale"] = FloatTensor("", {2}, {1, 1}); });
  ExpectRefused(two.status(), Code::kInvalidArgument, {"experts.0.upScale", "one floating-point number"});
  ExpectNothingWritten();
}

TEST(ElementTest, ReadsEveryFloatingPointType) {
  const auto view = [](DType dtype, std::string bytes) {
    auto copy = std::make_shared<std::string>(std::move(bytes));
    const int64_t n = static_cast<int64_t>(copy->size()) / DTypeBytes(dtype);
    return TensorView{"", dtype, {n}, std::as_bytes(std::span(copy->data(), copy->size())), copy};
  };
  using testing_zip::Raw;
  const TensorView half = view(DType::kF16, Raw<uint16_t>(0x3555) + Raw<uint16_t>(0x8001) + Raw<uint16_t>(0xfbff) + Raw<uint16_t>(0x7c00));
  EXPECT_EQ(ElementAt(half, 0), 1365.0 / 4096);
  EXPECT_EQ(ElementAt(half, 1), -0x1p-24);
  EXPECT_EQ(ElementAt(half, 2), -65504.0);
  EXPECT_TRUE(std::isinf(ElementAt(half, 3)));
  EXPECT_EQ(ElementAt(view(DType::kBF16, Raw<uint16_t>(0xc049)), 0), -3.140625);
  EXPECT_EQ(ElementAt(view(DType::kF64, Raw(0.1)), 0), 0.1);
  const TensorView third = view(DType::kF32, Raw(1.0f / 3) + Raw(-0x1p-24f) + Raw(-65504.0f));
  const TensorView half3 = view(DType::kF16, Raw<uint16_t>(0x3555) + Raw<uint16_t>(0x8001) + Raw<uint16_t>(0xfbff));
  EXPECT_EQ(FirstDifference(third, half3), std::nullopt);
  EXPECT_EQ(FirstDifference(half3, view(DType::kF32, Raw(1.0f / 3) + Raw(-0x1p-24f) + Raw(-65000.0f))), 2);
  EXPECT_EQ(FirstDifference(third, view(DType::kF32, Raw(1.0f / 3) + Raw(0.0f) + Raw(0.0f))), 1);
}

}  // namespace
}  // namespace switchyard
