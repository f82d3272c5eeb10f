// A MixLoRA adapter, imported and loaded as a server loads it, against the logits of MixLoRA's own formula
// (tests/golden/make_mixlora_goldens.py).
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <tuple>

#include "engine/artifact/mixlora_import.h"
#include "tests/model/golden_case.h"
#include "tests/testing/files.h"
#include "tests/testing/step_driver.h"

namespace switchyard::testing {
namespace {

class MixLoraTest : public ::testing::TestWithParam<std::tuple<std::string, std::string>> {};

TEST_P(MixLoraTest, ImportedLogitsEqualItsFormula) {
  const auto& [adapter, backend] = GetParam();
  const std::string goldens = "tests/golden/artifact/mixlora";
  const TempDir directory;
  std::filesystem::copy(goldens + "/base", directory.File("base"));  // the fingerprint is cached beside a base
  MixLoraOptions import;
  import.adapter_directory = goldens + "/" + adapter;
  import.base_directory = directory.File("base");
  import.out_directory = directory.File("out");
  import.merge_attention = true;
  const auto report = ImportMixLora(import);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->merged_base, adapter == "attention");
  RunnerOptions options;
  options.base_directory = report->merged_base ? import.out_directory + "/base" : import.base_directory;
  for (const std::string& name : report->experts) options.experts.push_back({name, import.out_directory + "/experts/" + name});
  options.router_directory = import.out_directory + "/router";
  options.kv_bytes = 1 << 20;
  options.kv_block_tokens = 8;
  options.backend = backend;
  options.dtype = "f32";
  const LoadedRunner loaded = LoadOrFail(options);
  const auto file = SafetensorsFile::Open(goldens + "/expected.safetensors");
  ASSERT_TRUE(file.ok()) << file.status();
  const at::Tensor want = GoldenTensor(**file, adapter + ".logits");
  StepDriver driver(*loaded.runner);
  const SequenceOutput routed = driver.Sequence(GoldenTokens(**file, "tokens"), RoutingPolicy{});
  EXPECT_LT(RelativeError(routed.logits, want), 1e-4);
  RoutingPolicy base;
  base.mode = RoutingPolicy::Mode::kBaseOnly;
  EXPECT_GT(RelativeError(driver.Sequence(GoldenTokens(**file, "tokens"), base).logits, want), 1e-2) << "the experts change nothing";
}

INSTANTIATE_TEST_SUITE_P(Adapters, MixLoraTest,
                         ::testing::Combine(::testing::Values("today", "attention"), ::testing::Values("reference", "fast")),
                         [](const auto& info) { return std::get<0>(info.param) + "_" + std::get<1>(info.param); });

}  // namespace
}  // namespace switchyard::testing
