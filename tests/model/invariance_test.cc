// What a sequence computes must not depend on how it was packed: chunks, shared prefixes, neighbours. Fast: bit for bit. Reference: within
// rounding.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <random>
#include <span>
#include <string>

#include "tests/model/golden_case.h"
#include "tests/testing/step_driver.h"

namespace switchyard::testing {
namespace {

// backend, dtype
class InvarianceTest : public ::testing::TestWithParam<std::pair<std::string, std::string>> {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/switchyard_invariance_XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    directory_ = pattern;
    const GoldenCase golden("llama");
    ASSERT_NO_FATAL_FAILURE(WriteGoldenRouter(golden, "mlp", 2, "renorm", directory_ + "/router"));
    RunnerOptions options = golden.Options(GetParam().first, GetParam().second);
    options.router_directory = directory_ + "/router";
    loaded_ = LoadOrFail(options);
    tokens_ = golden.Prompt(2);
    tokens_.resize(41);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::vector<TokenId> RandomTokens(size_t count) {
    std::uniform_int_distribution<TokenId> token(0, loaded_.runner->snapshot()->info().vocab_size - 1);
    std::vector<TokenId> tokens(count);
    std::generate(tokens.begin(), tokens.end(), [&] { return token(random_); });
    return tokens;
  }

  // Rows [begin, end) of `all` against `part`.
  void ExpectSame(const SequenceOutput& all, size_t begin, const SequenceOutput& part, const std::string& what) const {
    ASSERT_LE(begin + part.logits.size(), all.logits.size()) << what;
    for (size_t row = 0; row < part.logits.size(); ++row) ExpectSameRow(all.logits[begin + row], part.logits[row], what);
    const auto offset = static_cast<int64_t>(begin) * all.routes.layers * all.routes.k;
    const std::vector<ExpertIndex> experts(all.routes.experts.begin() + offset,
                                           all.routes.experts.begin() + offset + static_cast<int64_t>(part.routes.experts.size()));
    EXPECT_EQ(experts, part.routes.experts) << what;
    if (!exact()) return;
    const std::vector<float> weights(all.routes.weights.begin() + offset,
                                     all.routes.weights.begin() + offset + static_cast<int64_t>(part.routes.weights.size()));
    EXPECT_EQ(weights, part.routes.weights) << what;
  }

  void ExpectSameRow(const std::vector<float>& a, const std::vector<float>& b, const std::string& what) const {
    if (exact()) {
      ASSERT_EQ(a, b) << what;
      return;
    }
    ASSERT_EQ(a.size(), b.size()) << what;
    for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 2e-5 * 10) << what;  // logits reach about 10
  }
  bool exact() const { return GetParam().first == "fast"; }

  LoadedRunner loaded_;
  std::string directory_;
  std::vector<TokenId> tokens_;
  std::mt19937 random_{5};
  const RoutingPolicy learned_;
};

TEST_P(InvarianceTest, ChunkedPrefillEqualsWhole) {
  StepDriver driver(*loaded_.runner);
  const SequenceOutput whole = driver.Sequence(tokens_, learned_);
  for (const size_t chunk : {1, 3, 7})
    ExpectSame(whole, 0, driver.Sequence(tokens_, learned_, chunk), "chunks of " + std::to_string(chunk));
}

TEST_P(InvarianceTest, PackedTreeEqualsSeparateSequences) {
  StepDriver driver(*loaded_.runner);
  const size_t shared = 23;
  const std::vector<int32_t> context = driver.TakeSlots(shared);
  std::vector<TokenId> rows(tokens_.begin(), tokens_.begin() + shared);
  std::vector<Segment> segments = {{0, static_cast<int32_t>(shared), context, &learned_}};
  std::vector<std::vector<TokenId>> branches = {RandomTokens(1), RandomTokens(9), RandomTokens(4)};
  std::vector<std::vector<int32_t>> slots;
  slots.reserve(branches.size());
  for (const std::vector<TokenId>& branch : branches) {
    slots.push_back(context);
    const std::vector<int32_t> own = driver.TakeSlots(branch.size());
    slots.back().insert(slots.back().end(), own.begin(), own.end());
    const auto begin = static_cast<int32_t>(rows.size());
    rows.insert(rows.end(), branch.begin(), branch.end());
    segments.push_back({begin, static_cast<int32_t>(rows.size()), slots.back(), &learned_});
  }
  const StepResult packed = driver.Run(rows, segments);
  ASSERT_EQ(packed.routes.size(), segments.size());
  for (size_t b = 0; b < branches.size(); ++b) {
    std::vector<TokenId> whole(tokens_.begin(), tokens_.begin() + shared);
    whole.insert(whole.end(), branches[b].begin(), branches[b].end());
    const Segment& segment = segments[b + 1];
    const SequenceOutput part = {{packed.logits.begin() + segment.begin, packed.logits.begin() + segment.end}, packed.routes[b + 1]};
    ExpectSame(driver.Sequence(whole, learned_), shared, part, "branch " + std::to_string(b));
  }
}

TEST_P(InvarianceTest, NeighboursDoNotMatter) {
  StepDriver driver(*loaded_.runner);
  const SequenceOutput alone = driver.Sequence(tokens_, learned_);
  RoutingPolicy forced, base, masked;
  forced.mode = RoutingPolicy::Mode::kForced;
  forced.forced = 3;
  base.mode = RoutingPolicy::Mode::kBaseOnly;
  masked.masked = {true, false, false, true, false};
  const std::vector<const RoutingPolicy*> policies = {&learned_, &forced, &base, &masked};
  for (int round = 0; round < 8; ++round) {
    const int place = round % 4;  // of our sequence among its neighbours
    std::vector<TokenId> rows;
    std::vector<Segment> segments;
    std::vector<std::vector<int32_t>> slots(4);
    for (int i = 0; i < 4; ++i) {
      const std::vector<TokenId> tokens = i == place ? tokens_ : RandomTokens(1 + random_() % 20);
      const auto begin = static_cast<int32_t>(rows.size());
      rows.insert(rows.end(), tokens.begin(), tokens.end());
      slots[i] = driver.TakeSlots(tokens.size());
      segments.push_back(
          {begin, static_cast<int32_t>(rows.size()), slots[i], i == place ? &learned_ : policies[random_() % policies.size()]});
    }
    const StepResult result = driver.Run(rows, segments);
    ASSERT_EQ(result.routes.size(), 4u);
    const Segment& ours = segments[place];
    ExpectSame(alone, 0, {{result.logits.begin() + ours.begin, result.logits.begin() + ours.end}, result.routes[place]},
               "round " + std::to_string(round));
  }
}

TEST_P(InvarianceTest, RoutesDoNotLookAhead) {
  StepDriver driver(*loaded_.runner);
  const SequenceOutput before = driver.Sequence(tokens_, learned_);
  std::vector<TokenId> changed = tokens_;
  changed[30] = (changed[30] + 1) % loaded_.runner->snapshot()->info().vocab_size;
  SequenceOutput after = driver.Sequence(changed, learned_);
  EXPECT_NE(after.logits[30], before.logits[30]);
  after.logits.resize(30);
  after.routes.experts.resize(static_cast<size_t>(30 * after.routes.layers * after.routes.k));
  after.routes.weights.resize(after.routes.experts.size());
  ExpectSame(before, 0, after, "rows before the change");
}

INSTANTIATE_TEST_SUITE_P(Backends, InvarianceTest,
                         ::testing::Values(std::pair{"fast", "f32"}, std::pair{"fast", "bf16"}, std::pair{"reference", "f32"}),
                         [](const auto& info) { return std::string(info.param.first) + "_" + info.param.second; });

}  // namespace
}  // namespace switchyard::testing
