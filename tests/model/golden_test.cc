// Both backends against transformers and PEFT on tiny seeded models of odd shapes. Prints one `fidelity` line a measurement for
// docs/fidelity.md.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <string>
#include <tuple>

#include "tests/model/golden_case.h"
#include "tests/testing/step_driver.h"

namespace switchyard::testing {
namespace {

constexpr double kTolerance = 1e-4;  // relative to the largest logit; measured errors are some hundred times smaller

RoutingPolicy BaseOnly() {
  RoutingPolicy policy;
  policy.mode = RoutingPolicy::Mode::kBaseOnly;
  return policy;
}

RoutingPolicy Forced(const SnapshotInfo& info, const std::string& expert) {
  RoutingPolicy policy;
  policy.mode = RoutingPolicy::Mode::kForced;
  for (size_t e = 0; e < info.experts.size(); ++e) {
    if (info.experts[e].name == expert) policy.forced = static_cast<ExpertIndex>(e);
  }
  EXPECT_NE(policy.forced, kNoExpert) << expert;
  return policy;
}

void Report(const std::string& what, const std::string& backend, double error) {
  std::printf("fidelity | %-28s | %-9s | %.1e |\n", what.c_str(), backend.c_str(), error);
}

// name of the case, backend
class GoldenTest : public ::testing::TestWithParam<std::tuple<std::string, std::string>> {
 protected:
  GoldenTest() : golden_(std::get<0>(GetParam())), backend_(std::get<1>(GetParam())) {}
  const GoldenCase golden_;
  const std::string backend_;
};

TEST_P(GoldenTest, BaseLogitsEqualTransformers) {
  const LoadedRunner loaded = LoadOrFail(golden_.Options(backend_, "f32"));
  StepDriver driver(*loaded.runner);
  double worst = 0;
  for (int p = 0; p < golden_.prompts(); ++p) {
    const SequenceOutput output = driver.Sequence(golden_.Prompt(p), BaseOnly());
    worst = std::max(worst, RelativeError(output.logits, golden_.Get("base." + std::to_string(p) + ".logits")));
  }
  Report(golden_.name() + " base f32", backend_, worst);
  EXPECT_LT(worst, kTolerance);
}

TEST_P(GoldenTest, BaseGreedyTextEqualsTransformers) {
  const LoadedRunner loaded = LoadOrFail(golden_.Options(backend_, "f32"));
  const std::vector<TokenId> want = golden_.Tokens("base.greedy");
  EXPECT_EQ(StepDriver(*loaded.runner).Greedy(golden_.Prompt(0), want.size(), BaseOnly()), want);
}

TEST_P(GoldenTest, EveryForcedExpertEqualsPeft) {
  const LoadedRunner loaded = LoadOrFail(golden_.Options(backend_, "f32"));
  StepDriver driver(*loaded.runner);
  for (const std::string& expert : golden_.experts()) {
    const RoutingPolicy policy = Forced(loaded.runner->snapshot()->info(), expert);
    const at::Tensor want = golden_.Get("expert." + expert + ".1.logits");
    const SequenceOutput output = driver.Sequence(golden_.Prompt(1), policy);
    const double error = RelativeError(output.logits, want);
    Report(golden_.name() + " expert " + expert, backend_, error);
    EXPECT_LT(error, kTolerance) << expert;
    EXPECT_GT(RelativeError(output.logits, golden_.Get("base.1.logits")), 100 * kTolerance) << expert << " changes nothing";
    const std::vector<TokenId> greedy = golden_.Tokens("expert." + expert + ".greedy");
    EXPECT_EQ(driver.Greedy(golden_.Prompt(0), greedy.size(), policy), greedy) << expert;
  }
}

TEST_P(GoldenTest, OnlyZeroIsBitIdenticalToTheBase) {
  const LoadedRunner loaded = LoadOrFail(golden_.Options(backend_, "f32"));
  StepDriver driver(*loaded.runner);
  const SequenceOutput base = driver.Sequence(golden_.Prompt(1), BaseOnly());
  const SequenceOutput zero = driver.Sequence(golden_.Prompt(1), Forced(loaded.runner->snapshot()->info(), "zero"));
  EXPECT_EQ(zero.logits, base.logits);
}

TEST_P(GoldenTest, Bf16IsNotFurtherFromF32ThanTransformersBf16) {
  const LoadedRunner loaded = LoadOrFail(golden_.Options(backend_, "bf16"));
  const at::Tensor want = golden_.Get("base.1.logits"), theirs = golden_.Get("bf16.1.logits");
  const SequenceOutput output = StepDriver(*loaded.runner).Sequence(golden_.Prompt(1), BaseOnly());
  const double error = RelativeError(output.logits, want);
  const double allowed = ((theirs - want).abs().max() / want.abs().max()).item<double>();
  Report(golden_.name() + " base bf16", backend_, error);
  Report(golden_.name() + " base bf16, transformers", "-", allowed);
  EXPECT_LT(error, 1.5 * allowed);
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenTest,
                         ::testing::Combine(::testing::Values("llama", "llama_tied", "qwen3", "qwen2"),
                                            ::testing::Values("reference", "fast")),
                         [](const auto& info) { return std::get<0>(info.param) + "_" + std::get<1>(info.param); });

using Rule = std::tuple<std::string, int, std::string>;  // kind, k, weights

class MixtureGoldenTest : public ::testing::TestWithParam<std::tuple<Rule, std::string>> {
 protected:
  void SetUp() override {
    const auto& [kind, k, weights] = std::get<0>(GetParam());
    char pattern[] = "/tmp/switchyard_golden_XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    directory_ = pattern;
    variant_ = "moe." + kind + ".k" + std::to_string(k) + "." + weights;
    ASSERT_NO_FATAL_FAILURE(WriteGoldenRouter(golden_, kind, k, weights, directory_ + "/router"));
    RunnerOptions options = golden_.Options(std::get<1>(GetParam()), "f32");
    options.router_directory = directory_ + "/router";
    loaded_ = LoadOrFail(options);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  const GoldenCase golden_{"llama"};
  std::string directory_, variant_;
  LoadedRunner loaded_;
};

TEST_P(MixtureGoldenTest, RoutesAndLogitsEqualTheFormulas) {
  StepDriver driver(*loaded_.runner);
  double worst = 0;
  for (int p = 0; p < 2; ++p) {
    const std::string prefix = variant_ + "." + std::to_string(p) + ".";
    const SequenceOutput output = driver.Sequence(golden_.Prompt(p), RoutingPolicy{});
    const at::Tensor experts = golden_.Get(prefix + "experts"), weights = golden_.Get(prefix + "weights");
    const at::Tensor entropy = golden_.Get(prefix + "entropy"), margin = golden_.Get(prefix + "margin");
    ASSERT_EQ(static_cast<int64_t>(output.routes.experts.size()), experts.numel());
    for (int64_t i = 0; i < experts.numel(); ++i) {
      ASSERT_EQ(output.routes.experts[i], experts.view(-1)[i].item<int64_t>()) << prefix << i;
      ASSERT_NEAR(output.routes.weights[i], weights.view(-1)[i].item<float>(), 1e-4) << prefix << i;
    }
    for (int64_t i = 0; i < entropy.numel(); ++i) {
      ASSERT_NEAR(output.routes.entropy[i], entropy.view(-1)[i].item<float>(), 1e-4) << prefix << i;
      ASSERT_NEAR(output.routes.margin[i], margin.view(-1)[i].item<float>(), 1e-4) << prefix << i;
    }
    worst = std::max(worst, RelativeError(output.logits, golden_.Get(prefix + "logits")));
  }
  Report("llama " + variant_, std::get<1>(GetParam()), worst);
  EXPECT_LT(worst, kTolerance);
}

TEST_P(MixtureGoldenTest, GreedyTextEqualsTheFormulas) {
  const std::vector<TokenId> want = golden_.Tokens(variant_ + ".greedy");
  EXPECT_EQ(StepDriver(*loaded_.runner).Greedy(golden_.Prompt(0), want.size(), RoutingPolicy{}), want);
}

std::string RuleName(const Rule& rule) {
  const auto& [kind, k, weights] = rule;
  return kind + "_k" + std::to_string(k) + "_" + weights;
}

INSTANTIATE_TEST_SUITE_P(Rules, MixtureGoldenTest,
                         ::testing::Combine(::testing::Values(Rule{"mlp", 1, "renorm"}, Rule{"mlp", 2, "renorm"}, Rule{"linear", 1, "raw"},
                                                              Rule{"linear", 2, "renorm"}, Rule{"linear", 3, "raw"}),
                                            ::testing::Values("reference", "fast")),
                         [](const auto& info) { return RuleName(std::get<0>(info.param)) + "_" + std::get<1>(info.param); });

}  // namespace
}  // namespace switchyard::testing
