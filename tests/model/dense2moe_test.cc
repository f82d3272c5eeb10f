// A Dense2MoE checkpoint, imported and loaded as a server loads it, against the logits of Dense2MoE's own formula
// (tests/golden/make_torch_pickle_goldens.py).
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <tuple>

#include "engine/artifact/dense2moe_import.h"
#include "tests/model/golden_case.h"
#include "tests/testing/step_driver.h"

namespace switchyard::testing {
namespace {

namespace fs = std::filesystem;

class Dense2MoeTest : public ::testing::TestWithParam<std::tuple<int, std::string>> {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/switchyard_dense2moe_XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    directory_ = pattern;
    fs::copy(kGoldens + "/base", directory_ + "/base");
  }
  void TearDown() override { fs::remove_all(directory_); }

  // The golden checkpoint imported for top-k, with the LoRA in the checkpoint.
  RunnerOptions Import(int top_k) {
    Dense2MoeOptions import;
    import.checkpoint = kGoldens + "/pytorch_model.bin";
    import.base_directory = directory_ + "/base";
    import.out_directory = directory_ + "/out";
    import.experts = {"code", "law", "zero"};
    import.top_k = top_k;
    const auto report = ImportDense2Moe(import);
    EXPECT_TRUE(report.ok()) << report.status();
    RunnerOptions options;
    options.base_directory = import.base_directory;
    options.experts = {{"code", import.out_directory + "/experts/code"}, {"law", import.out_directory + "/experts/law"}, {"zero", ""}};
    options.router_directory = import.out_directory + "/router";
    options.kv_bytes = 1 << 20;
    options.kv_block_tokens = 8;
    return options;
  }

  const std::string kGoldens = "tests/golden/artifact/dense2moe";
  std::string directory_;
};

TEST_P(Dense2MoeTest, ImportedLogitsEqualItsFormula) {
  const auto& [top_k, backend] = GetParam();
  RunnerOptions options = Import(top_k);
  options.backend = backend;
  options.dtype = "f32";
  const LoadedRunner loaded = LoadOrFail(options);
  const auto file = SafetensorsFile::Open(kGoldens + "/expected.safetensors");
  ASSERT_TRUE(file.ok()) << file.status();
  const std::vector<TokenId> tokens = GoldenTokens(**file, "tokens");
  const at::Tensor want = GoldenTensor(**file, "k" + std::to_string(top_k) + ".logits");
  StepDriver driver(*loaded.runner);
  const SequenceOutput routed = driver.Sequence(tokens, RoutingPolicy{});
  EXPECT_LT(RelativeError(routed.logits, want), 1e-4);
  RoutingPolicy base;
  base.mode = RoutingPolicy::Mode::kBaseOnly;
  EXPECT_GT(RelativeError(driver.Sequence(tokens, base).logits, want), 1e-2) << "the experts change nothing";
}

INSTANTIATE_TEST_SUITE_P(TopK, Dense2MoeTest, ::testing::Combine(::testing::Values(1, 2), ::testing::Values("reference", "fast")),
                         [](const auto& info) { return "k" + std::to_string(std::get<0>(info.param)) + "_" + std::get<1>(info.param); });

}  // namespace
}  // namespace switchyard::testing
