#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <string>

#include "engine/runner/runner_factory.h"
#include "tests/runner/tiny_fixture.h"

namespace switchyard::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class LoadRunnerTest : public TinyFixture {
 protected:
  // Loads and expects an error of this code whose message holds every part.
  void ExpectRefused(const RunnerOptions& options, absl::StatusCode code, const std::vector<std::string>& parts) const {
    const auto loaded = LoadRunner(options);
    ASSERT_FALSE(loaded.ok());
    EXPECT_EQ(loaded.status().code(), code) << loaded.status();
    for (const std::string& part : parts) EXPECT_THAT(std::string(Message(loaded.status())), HasSubstr(part));
  }
  // A base beside the good one with changed tensors.
  RunnerOptions BrokenBase(const TinyTensors& tensors) const {
    EXPECT_TRUE(WriteTinyBase(Path("broken"), spec_, tensors).ok());
    RunnerOptions options = Options();
    options.base_directory = Path("broken");
    return options;
  }
};

TEST_F(LoadRunnerTest, DescribesTheSnapshotItLoaded) {
  const LoadedRunner loaded = Load(RoutedOptions(2));
  const SnapshotInfo& info = loaded.runner->snapshot()->info();
  EXPECT_EQ(info.base_name, "base");
  EXPECT_EQ(info.base_generation.size(), 64u);
  EXPECT_EQ(info.generation.size(), 64u);
  EXPECT_EQ(info.router_kind, "linear");
  EXPECT_EQ(info.router_name, "tiny");
  EXPECT_EQ(info.top_k, 2);
  EXPECT_EQ(info.num_layers, spec_.layers);
  EXPECT_EQ(info.hidden_size, spec_.hidden);
  EXPECT_EQ(info.vocab_size, spec_.vocab);
  EXPECT_EQ(info.max_positions, spec_.max_positions);
  EXPECT_EQ(info.bos_token, 1);
  EXPECT_THAT(info.eos_tokens, ElementsAre(2));
  ASSERT_EQ(info.experts.size(), 3u);
  EXPECT_EQ(info.experts[0].name, "law");
  EXPECT_EQ(info.experts[0].max_rank, 3);
  EXPECT_GT(info.experts[0].bytes, 0);
  EXPECT_TRUE(info.experts[1].is_zero);
  EXPECT_EQ(info.experts[1].generation, "zero");
  EXPECT_EQ(info.experts[2].max_rank, 5);
  EXPECT_EQ(loaded.report.base_dtype, "f32");
  EXPECT_GT(loaded.report.base_bytes, 0);
  EXPECT_EQ(loaded.report.expert_bytes, info.experts[0].bytes + info.experts[2].bytes);
  EXPECT_GT(loaded.report.router_bytes, 0);
  EXPECT_FALSE(loaded.report.untrained);
}

TEST_F(LoadRunnerTest, KvPoolIsTheBudgetInWholeBlocks) {
  const LoadedRunner loaded = Load(Options());
  const KvGeometry kv = loaded.runner->kv();
  EXPECT_EQ(kv.bytes_per_token, 2 * spec_.layers * spec_.kv_heads * spec_.head_dim * 4);
  EXPECT_EQ(kv.num_blocks, (1 << 20) / (kv.bytes_per_token * 8));
  EXPECT_EQ(loaded.report.kv_bytes, int64_t{kv.num_blocks} * 8 * kv.bytes_per_token);
}

TEST_F(LoadRunnerTest, Bf16HalvesTheBase) {
  RunnerOptions options = Options();
  options.dtype = "bf16";
  const LoadedRunner half = Load(options);
  EXPECT_EQ(half.report.base_dtype, "bf16");
  EXPECT_LT(half.report.base_bytes, Load(Options()).report.base_bytes * 6 / 10);
  EXPECT_EQ(half.runner->kv().bytes_per_token, Load(Options()).runner->kv().bytes_per_token / 2);
}

TEST_F(LoadRunnerTest, GenerationIsOfContentAndOrder) {
  const auto generation = [](const RunnerOptions& options) { return Load(options).runner->snapshot()->info().generation; };
  RunnerOptions renamed = Options(), swapped = Options(), fewer = Options();
  renamed.experts[0].name = "jurisprudence";
  std::swap(swapped.experts[0], swapped.experts[2]);
  fewer.experts.pop_back();
  const std::string plain = generation(Options());
  EXPECT_EQ(generation(Options("reference")), plain);
  EXPECT_EQ(generation(renamed), plain);
  EXPECT_NE(generation(swapped), plain);
  EXPECT_NE(generation(fewer), plain);
  EXPECT_NE(generation(RoutedOptions(1)), plain);
  EXPECT_NE(generation(RoutedOptions(1)), generation(RoutedOptions(2)));
}

TEST_F(LoadRunnerTest, RefusesNanWeightsByName) {
  TinyTensors tensors = TinyBaseTensors(spec_);
  tensors["model.layers.1.mlp.up_proj.weight"].values[7] = std::numeric_limits<float>::quiet_NaN();
  ExpectRefused(BrokenBase(tensors), absl::StatusCode::kDataLoss, {"model.layers.1.mlp.up_proj.weight", "element 7", "NaN"});
}

TEST_F(LoadRunnerTest, RefusesWrongShapesNamingBoth) {
  TinyTensors tensors = TinyBaseTensors(spec_);
  tensors["model.layers.0.self_attn.k_proj.weight"] = {{32, 16}, std::vector<float>(512, 0.1f)};
  ExpectRefused(BrokenBase(tensors), absl::StatusCode::kInvalidArgument,
                {"model.layers.0.self_attn.k_proj.weight", "[16, 32]", "[32, 16]"});
}

TEST_F(LoadRunnerTest, RefusesMissingTensors) {
  TinyTensors tensors = TinyBaseTensors(spec_);
  tensors.erase("model.norm.weight");
  ExpectRefused(BrokenBase(tensors), absl::StatusCode::kNotFound, {"model.norm.weight"});
}

TEST_F(LoadRunnerTest, RefusesTensorsTheArchitectureHasNoPlaceFor) {
  TinyTensors tensors = TinyBaseTensors(spec_);
  tensors["model.layers.0.self_attn.q_norm.weight"] = {{8}, std::vector<float>(8, 1.0f)};
  ExpectRefused(BrokenBase(tensors), absl::StatusCode::kInvalidArgument, {"unexpected tensor model.layers.0.self_attn.q_norm.weight"});
}

TEST_F(LoadRunnerTest, IgnoresTheRotaryTablesOfOldFiles) {
  TinyTensors tensors = TinyBaseTensors(spec_);
  tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = {{4}, {1, 2, 3, 4}};
  EXPECT_TRUE(LoadRunner(BrokenBase(tensors)).ok());
}

TEST_F(LoadRunnerTest, TiedBaseMayCarryItsHeadOnlyIfItIsTheEmbedding) {
  TinyModelSpec tied = spec_;
  tied.tied = true;
  TinyTensors tensors = TinyBaseTensors(tied);
  tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"];
  RunnerOptions options = Options();
  options.base_directory = Path("tied");
  options.experts.clear();
  ASSERT_TRUE(WriteTinyBase(Path("tied"), tied, tensors).ok());
  EXPECT_TRUE(LoadRunner(options).ok());
  tensors["lm_head.weight"].values[0] += 1;
  ASSERT_TRUE(WriteTinyBase(Path("tied"), tied, tensors).ok());
  ExpectRefused(options, absl::StatusCode::kInvalidArgument, {"lm_head.weight differs"});
}

TEST_F(LoadRunnerTest, RefusesExpertsOfAnotherShapeByName) {
  TinyModelSpec wide = spec_;
  wide.hidden = 40;
  ASSERT_TRUE(WriteTinyExpert(Path("wide"), wide, 2, 1).ok());
  RunnerOptions options = Options();
  options.experts[0] = {"wide", Path("wide")};
  ExpectRefused(options, absl::StatusCode::kInvalidArgument, {"expert wide"});
}

TEST_F(LoadRunnerTest, RefusesARouterOfOtherExpertsNamingBothLists) {
  RunnerOptions options = RoutedOptions(1);
  std::swap(options.experts[0], options.experts[2]);
  ExpectRefused(options, absl::StatusCode::kFailedPrecondition, {"law", "code"});
}

TEST_F(LoadRunnerTest, RefusesARouterOfAnotherBase) {
  RunnerOptions options = RoutedOptions(1);
  TinyModelSpec other = spec_;
  other.seed = 77;
  ASSERT_TRUE(WriteTinyBase(Path("other"), other).ok());
  options.base_directory = Path("other");
  EXPECT_EQ(LoadRunner(options).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(LoadRunnerTest, RefusesUnknownChoices) {
  for (const auto& [field, value] :
       {std::pair{&RunnerOptions::backend, "gpu"}, std::pair{&RunnerOptions::dtype, "fp8"}, std::pair{&RunnerOptions::mixture, "dense"}}) {
    RunnerOptions options = Options();
    options.*field = value;
    ExpectRefused(options, absl::StatusCode::kInvalidArgument, {value});
  }
}

TEST_F(LoadRunnerTest, RefusesBenchmarkMixturesOnTheReference) {
  RunnerOptions options = Options("reference");
  options.mixture = "naive";
  ExpectRefused(options, absl::StatusCode::kInvalidArgument, {"naive"});
}

TEST_F(LoadRunnerTest, RefusesAmbiguousExperts) {
  RunnerOptions twice = Options(), zeros = Options(), unnamed = Options();
  twice.experts[2].name = "law";
  zeros.experts.push_back({"zero2", ""});
  unnamed.experts[0].name = "";
  ExpectRefused(twice, absl::StatusCode::kInvalidArgument, {"two experts are named law"});
  ExpectRefused(zeros, absl::StatusCode::kInvalidArgument, {"zero2"});
  ExpectRefused(unnamed, absl::StatusCode::kInvalidArgument, {"no name"});
}

TEST_F(LoadRunnerTest, RefusesAKvBudgetBelowOneBlock) {
  RunnerOptions options = Options();
  options.kv_bytes = 100;
  ExpectRefused(options, absl::StatusCode::kResourceExhausted, {"kv_bytes", "100"});
  options.kv_block_tokens = 0;
  ExpectRefused(options, absl::StatusCode::kInvalidArgument, {"kv_block_tokens"});
}

TEST_F(LoadRunnerTest, RefusesADirectoryThatIsNoModel) {
  RunnerOptions options = Options();
  options.base_directory = Path("nothing");
  EXPECT_EQ(LoadRunner(options).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(LoadRunnerTest, RefusesTruncatedWeights) {
  TinyTensors tensors = TinyBaseTensors(spec_);
  const RunnerOptions options = BrokenBase(tensors);
  const std::string file = Path("broken") + "/model.safetensors";
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 100);
  EXPECT_EQ(LoadRunner(options).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace switchyard::testing
