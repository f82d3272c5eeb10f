// The real model against transformers, by token ids alone. Needs the imported SmolLM2-135M-Instruct under $SWITCHYARD_MODELS (default
// ~/.cache/switchyard/models); skips, saying so, where it is absent.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>
#include <string>

#include "engine/artifact/sha256.h"
#include "tests/model/golden_case.h"
#include "tests/testing/step_driver.h"

namespace switchyard::testing {
namespace {

std::string ModelDirectory() {
  const char* models = std::getenv("SWITCHYARD_MODELS");
  const char* home = std::getenv("HOME");
  return (models != nullptr ? std::string(models) : std::string(home != nullptr ? home : "") + "/.cache/switchyard/models") +
         "/smollm2-135m-instruct";
}

struct Question {
  std::vector<TokenId> context;
  std::vector<std::vector<TokenId>> choices;
};

class SmolLm2Test : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(ModelDirectory() + "/model.safetensors")) {
      GTEST_SKIP() << "no SmolLM2-135M-Instruct in " << ModelDirectory()
                   << " (tools/demo imports it; SWITCHYARD_MODELS names another place)";
    }
    const auto sha = Sha256HexOfFile(ModelDirectory() + "/model.safetensors");
    ASSERT_TRUE(sha.ok()) << sha.status();
    ASSERT_EQ(*sha, golden_.meta().at("model_sha256").get<std::string>())
        << "the goldens were made from other weights: run make_model_goldens.py --smollm2";
  }

  LoadedRunner Load(const std::string& backend, const std::string& dtype) const {
    RunnerOptions options;
    options.base_directory = ModelDirectory();
    options.backend = backend;
    options.dtype = dtype;
    options.kv_bytes = 128 << 20;
    return LoadOrFail(options);
  }

  // max |a - b| over the golden's rows and vocabulary sample, relative to the largest logit.
  double RowsError(const LoadedRunner& loaded) const {
    const SequenceOutput output = StepDriver(*loaded.runner).Sequence(golden_.Tokens("chat.0"), base_);
    const at::Tensor want = golden_.Get("f32.rows"), vocabulary = golden_.Get("vocabulary");
    double worst = 0;
    for (int64_t row = 0; row < want.size(0); ++row) {
      const std::vector<float>& logits = output.logits[row];
      const at::Tensor got =
          at::from_blob(const_cast<float*>(logits.data()), {static_cast<int64_t>(logits.size())}, at::kFloat).index_select(0, vocabulary);
      worst = std::max(worst, (got - want[row]).abs().max().item<double>());
    }
    return worst / golden_.Get("f32.rows.max").item<double>();
  }

  Question ReadQuestion(int q) const {
    Question question;
    const std::string prefix = "mcq." + std::to_string(q) + ".";
    question.context = golden_.Tokens(prefix + "context");
    for (int c = 0; golden_.Has(prefix + std::to_string(c)); ++c) question.choices.push_back(golden_.Tokens(prefix + std::to_string(c)));
    return question;
  }

  // Sum of log-probabilities of each choice; context and choices packed as one tree in one step.
  std::vector<double> Score(const LoadedRunner& loaded, StepDriver& driver, const Question& question) const {
    const auto shared = static_cast<int32_t>(question.context.size());
    const std::vector<int32_t> context = driver.TakeSlots(question.context.size());
    Step step;
    step.snapshot = loaded.runner->snapshot();
    step.tokens = question.context;
    step.segments = {{0, shared, context, &base_}};
    std::vector<std::vector<int32_t>> slots(question.choices.size(), context);
    std::vector<size_t> owner;  // of each log-probability query
    for (size_t c = 0; c < question.choices.size(); ++c) {
      const std::vector<TokenId>& choice = question.choices[c];
      const auto begin = static_cast<int32_t>(step.tokens.size());
      const std::vector<int32_t> own = driver.TakeSlots(choice.size());
      slots[c].insert(slots[c].end(), own.begin(), own.end());
      step.tokens.insert(step.tokens.end(), choice.begin(), choice.end());
      step.segments.push_back({begin, begin + static_cast<int32_t>(choice.size()), slots[c], &base_});
      for (size_t i = 0; i < choice.size(); ++i) {
        step.logprobs.push_back({i == 0 ? shared - 1 : begin + static_cast<int32_t>(i) - 1, choice[i]});
        owner.push_back(c);
      }
    }
    const auto result = loaded.runner->Run(step);
    EXPECT_TRUE(result.ok()) << result.status();
    std::vector<double> sums(question.choices.size());
    for (size_t i = 0; result.ok() && i < owner.size(); ++i) sums[owner[i]] += result->logprobs[i].logprob;
    return sums;
  }

  // Worst error of any choice against f32; every ranking must be transformers' f32 ranking.
  double ScoreError(const LoadedRunner& loaded) const {
    StepDriver driver(*loaded.runner);
    double worst = 0;
    for (int q = 0; q < golden_.meta().at("questions").get<int>(); ++q) {
      const std::vector<double> got = Score(loaded, driver, ReadQuestion(q));
      const at::Tensor want = golden_.Get("f32.mcq." + std::to_string(q));
      std::vector<size_t> order(got.size()), golden_order(got.size());
      std::iota(order.begin(), order.end(), 0);
      golden_order = order;
      const float* values = want.const_data_ptr<float>();
      std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return got[a] > got[b]; });
      std::sort(golden_order.begin(), golden_order.end(), [&](size_t a, size_t b) { return values[a] > values[b]; });
      EXPECT_EQ(order, golden_order) << "question " << q;
      for (size_t c = 0; c < got.size(); ++c) worst = std::max(worst, std::abs(got[c] - values[c]));
    }
    return worst;
  }

  // transformers' own bf16 against its f32.
  double TheirRowsError() const {
    const double max = golden_.Get("f32.rows.max").item<double>();
    return (golden_.Get("bf16.rows") - golden_.Get("f32.rows")).abs().max().item<double>() / max;
  }
  double TheirScoreError() const {
    double worst = 0;
    for (int q = 0; q < golden_.meta().at("questions").get<int>(); ++q) {
      const std::string name = ".mcq." + std::to_string(q);
      worst = std::max(worst, (golden_.Get("bf16" + name) - golden_.Get("f32" + name)).abs().max().item<double>());
    }
    return worst;
  }

  // Tokens of `text` that agree with transformers' f32 before the first difference.
  static size_t Agreement(const std::vector<TokenId>& text, const std::vector<TokenId>& want) {
    return static_cast<size_t>(std::mismatch(text.begin(), text.end(), want.begin(), want.end()).first - text.begin());
  }

  const GoldenCase golden_{"smollm2"};
  const RoutingPolicy base_ = [] {
    RoutingPolicy policy;
    policy.mode = RoutingPolicy::Mode::kBaseOnly;
    return policy;
  }();
};

void Report(const char* what, double value) { std::printf("fidelity | %-44s | %.1e |\n", what, value); }

TEST_F(SmolLm2Test, FastF32EqualsTransformers) {
  const LoadedRunner loaded = Load("fast", "f32");
  const double rows = RowsError(loaded), scores = ScoreError(loaded);
  Report("smollm2 fast f32 logits", rows);
  Report("smollm2 fast f32 choice log-probability", scores);
  EXPECT_LT(rows, 1e-4);
  EXPECT_LT(scores, 1e-3);  // sums of up to 6 log-probabilities near 50
  StepDriver driver(*loaded.runner);
  for (int p = 0; p < golden_.prompts(); ++p) {
    const std::vector<TokenId> want = golden_.Tokens(absl::StrFormat("f32.chat.%d.greedy", p));
    EXPECT_EQ(driver.Greedy(golden_.Tokens(absl::StrFormat("chat.%d", p)), want.size(), base_), want) << p;
  }
}

TEST_F(SmolLm2Test, ReferenceF32EqualsTransformers) {
  const LoadedRunner loaded = Load("reference", "f32");
  const double rows = RowsError(loaded), scores = ScoreError(loaded);
  Report("smollm2 reference f32 logits", rows);
  Report("smollm2 reference f32 choice log-probability", scores);
  EXPECT_LT(rows, 1e-4);
  EXPECT_LT(scores, 1e-3);
}

TEST_F(SmolLm2Test, FastBf16IsWithinTransformersOwnBf16Error) {
  const LoadedRunner loaded = Load("fast", "bf16");
  const double rows = RowsError(loaded), scores = ScoreError(loaded);
  Report("smollm2 fast bf16 logits", rows);
  Report("smollm2 transformers bf16 logits", TheirRowsError());
  Report("smollm2 fast bf16 choice log-probability", scores);
  Report("smollm2 transformers bf16 choice log-prob.", TheirScoreError());
  EXPECT_LT(rows, 1.5 * TheirRowsError());
  EXPECT_LT(scores, 1.5 * TheirScoreError());
  StepDriver driver(*loaded.runner);
  for (int p = 0; p < golden_.prompts(); ++p) {
    const std::vector<TokenId> want = golden_.Tokens(absl::StrFormat("f32.chat.%d.greedy", p));
    const std::vector<TokenId> theirs = golden_.Tokens(absl::StrFormat("bf16.chat.%d.greedy", p));
    const std::vector<TokenId> ours = driver.Greedy(golden_.Tokens(absl::StrFormat("chat.%d", p)), want.size(), base_);
    const size_t agreed = Agreement(ours, want);
    std::printf("fidelity | smollm2 bf16 greedy, chat %d: ours agrees with f32 for %zu of %zu tokens, transformers' bf16 for %zu |\n", p,
                agreed, want.size(), Agreement(theirs, want));
    if (agreed == want.size()) continue;
    // A text may leave the f32 one only where f32 itself was undecided by less than bf16's error.
    const at::Tensor margin = golden_.Get(absl::StrFormat("f32.chat.%d.margin", p));
    EXPECT_LT(margin[static_cast<int64_t>(agreed)].item<double>(), TheirScoreError()) << "chat " << p << " token " << agreed;
  }
}

}  // namespace
}  // namespace switchyard::testing
