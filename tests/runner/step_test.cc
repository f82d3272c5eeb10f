// Steps through the runner: queries, policies side by side, traces, counts, failures.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <string>

#include "tests/runner/tiny_fixture.h"
#include "tests/testing/step_driver.h"

namespace switchyard::testing {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::vector<TokenId> kPrompt = {5, 9, 33, 12, 60, 7, 7, 21};

RoutingPolicy Policy(RoutingPolicy::Mode mode) {
  RoutingPolicy policy;
  policy.mode = mode;
  return policy;
}

RoutingPolicy Forced(ExpertIndex expert) {
  RoutingPolicy policy = Policy(RoutingPolicy::Mode::kForced);
  policy.forced = expert;
  return policy;
}

class StepTest : public TinyFixture, public ::testing::WithParamInterface<std::string> {
 protected:
  RunnerOptions Plain() const { return Options(GetParam()); }
  RunnerOptions Routed(int top_k) const { return RoutedOptions(top_k, GetParam()); }
};

double LogSumExp(const std::vector<float>& logits) {
  const double max = *std::max_element(logits.begin(), logits.end());
  return max + std::log(std::accumulate(logits.begin(), logits.end(), 0.0, [max](double sum, float x) { return sum + std::exp(x - max); }));
}

// One expert's numbers run away; whoever shares its step must not notice.
TEST_P(StepTest, ASegmentThatIsNotFiniteFailsAlone) {
  TinyTensors wild = TinyExpertTensors(spec_, 3, 21);
  for (auto& [name, tensor] : wild) {
    for (float& value : tensor.values) value *= 1e15f;
  }
  ASSERT_TRUE(WriteTinyExpert(Path("wild"), 3, wild).ok());
  RunnerOptions options = Plain();
  options.experts.push_back({"wild", Path("wild")});
  options.dtype = "f32";
  const LoadedRunner loaded = Load(options);
  StepDriver driver(*loaded.runner);
  const RoutingPolicy law = Forced(0), runaway = Forced(3);
  const SequenceOutput alone = driver.Sequence(kPrompt, law);
  const auto rows = static_cast<int32_t>(kPrompt.size());
  std::vector<TokenId> tokens;
  for (int i = 0; i < 3; ++i) tokens.insert(tokens.end(), kPrompt.begin(), kPrompt.end());
  const std::vector<int32_t> first = driver.TakeSlots(rows), second = driver.TakeSlots(rows), third = driver.TakeSlots(rows);
  const StepResult result =
      driver.Run(tokens, {{0, rows, first, &law}, {rows, 2 * rows, second, &runaway}, {2 * rows, 3 * rows, third, &law}});
  ASSERT_EQ(result.failures.size(), 1u);
  EXPECT_EQ(result.failures[0].segment, 1);
  EXPECT_EQ(result.failures[0].status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(Message(result.failures[0].status)), HasSubstr("is NaN or infinite"));
  for (int row = 0; row < rows; ++row) {
    if (GetParam() == "fast") {
      ASSERT_EQ(result.logits[row], alone.logits[row]) << row;
      ASSERT_EQ(result.logits[2 * rows + row], alone.logits[row]) << row;
    }
    for (int v = 0; v < spec_.vocab; ++v) ASSERT_NEAR(result.logits[2 * rows + row][v], alone.logits[row][v], 1e-4);
  }
}

TEST_P(StepTest, AnswersEveryKindOfQueryFromTheSameLogits) {
  const LoadedRunner loaded = Load(Plain());
  StepDriver driver(*loaded.runner);
  const RoutingPolicy base = Policy(RoutingPolicy::Mode::kBaseOnly);
  const std::vector<int32_t> slots = driver.TakeSlots(kPrompt.size());
  Step step;
  step.snapshot = loaded.runner->snapshot();
  step.tokens = kPrompt;
  step.segments = {{0, static_cast<int32_t>(kPrompt.size()), slots, &base}};
  step.logits = {{6}, {2}};
  step.logprobs = {{6, 0}, {2, 41}, {6, 63}};
  step.top_logprobs = {{2, 3}, {6, 1000}, {6, 0}};
  const auto result = loaded.runner->Run(step);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->logits.size(), 2u);
  const SequenceOutput whole = driver.Sequence(kPrompt, base);
  for (const auto& [query, row] : {std::pair{0, 6}, std::pair{1, 2}}) {
    for (int v = 0; v < spec_.vocab; ++v) ASSERT_NEAR(result->logits[query][v], whole.logits[row][v], 1e-4);
  }
  const std::vector<float>& six = result->logits[0];
  // What the sampler reports of its token is, to the bit, what a query about it answers.
  ASSERT_EQ(result->log_sum_exps.size(), 2u);
  EXPECT_EQ(six[0] - result->log_sum_exps[0], result->logprobs[0].logprob);
  EXPECT_EQ(result->logits[1][41] - result->log_sum_exps[1], result->logprobs[1].logprob);
  EXPECT_NEAR(result->logprobs[0].logprob, six[0] - LogSumExp(six), 1e-5);
  EXPECT_NEAR(result->logprobs[1].logprob, result->logits[1][41] - LogSumExp(result->logits[1]), 1e-5);
  EXPECT_NEAR(result->logprobs[2].logprob, six[63] - LogSumExp(six), 1e-5);
  const auto best = static_cast<TokenId>(std::max_element(six.begin(), six.end()) - six.begin());
  EXPECT_EQ(result->logprobs[0].is_argmax, best == 0);
  EXPECT_EQ(result->logprobs[2].is_argmax, best == 63);
  ASSERT_EQ(result->top_logprobs[0].size(), 3u);
  ASSERT_EQ(result->top_logprobs[1].size(), static_cast<size_t>(spec_.vocab));
  EXPECT_TRUE(result->top_logprobs[2].empty());
  EXPECT_EQ(result->top_logprobs[1].front().token, best);
  for (size_t i = 1; i < result->top_logprobs[1].size(); ++i) {
    EXPECT_GE(result->top_logprobs[1][i - 1].logprob, result->top_logprobs[1][i].logprob);
  }
}

TEST_P(StepTest, GreedyTargetIsArgmax) {
  const LoadedRunner loaded = Load(Plain());
  StepDriver driver(*loaded.runner);
  const RoutingPolicy base = Policy(RoutingPolicy::Mode::kBaseOnly);
  const TokenId best = driver.Greedy(kPrompt, 1, base).front();
  const std::vector<int32_t> slots = driver.TakeSlots(kPrompt.size());
  Step step;
  step.snapshot = loaded.runner->snapshot();
  step.tokens = kPrompt;
  step.segments = {{0, 8, slots, &base}};
  step.logprobs = {{7, best}, {7, (best + 1) % spec_.vocab}};
  const auto result = loaded.runner->Run(step);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(result->logprobs[0].is_argmax);
  EXPECT_FALSE(result->logprobs[1].is_argmax);
}

TEST_P(StepTest, EqualLogitsGoToTheLowestId) {
  TinyTensors tensors = TinyBaseTensors(spec_);
  std::fill(tensors["lm_head.weight"].values.begin(), tensors["lm_head.weight"].values.end(), 0.0f);
  ASSERT_TRUE(WriteTinyBase(Path("flat"), spec_, tensors).ok());
  RunnerOptions options = Plain();
  options.base_directory = Path("flat");
  const LoadedRunner loaded = Load(options);
  EXPECT_THAT(StepDriver(*loaded.runner).Greedy(kPrompt, 3, Policy(RoutingPolicy::Mode::kBaseOnly)), ElementsAre(0, 0, 0));
}

TEST_P(StepTest, ProbabilitiesAndRoutingTimeAreKeptWhenAskedFor) {
  const LoadedRunner loaded = Load(Routed(1));
  StepDriver driver(*loaded.runner);
  RoutingPolicy masked = Policy(RoutingPolicy::Mode::kLearned);
  masked.masked = {false, true, false};
  const RoutingPolicy learned = Policy(RoutingPolicy::Mode::kLearned), base = Policy(RoutingPolicy::Mode::kBaseOnly);
  const std::vector<int32_t> first = driver.TakeSlots(4), second = driver.TakeSlots(2), third = driver.TakeSlots(2);
  const StepResult result =
      driver.Run(kPrompt, {{0, 4, first, &learned, true, true}, {4, 6, second, &masked, true, true}, {6, 8, third, &base, true, true}});
  EXPECT_GT(result.routing_seconds, 0);
  EXPECT_TRUE(result.routes[2].probabilities.empty());  // no distribution
  for (size_t segment = 0; segment < 2; ++segment) {
    const RouteTrace& trace = result.routes[segment];
    const size_t pairs = static_cast<size_t>(trace.rows) * trace.layers;
    ASSERT_EQ(trace.probabilities.size(), pairs * 3);
    for (size_t i = 0; i < pairs; ++i) {
      const auto p = std::span(trace.probabilities).subspan(i * 3, 3);
      EXPECT_NEAR(p[0] + p[1] + p[2], 1, 1e-5);
      if (segment == 1) {
        EXPECT_EQ(p[1], 0);
      }
      EXPECT_EQ(trace.experts[i], std::max_element(p.begin(), p.end()) - p.begin());
      double entropy = 0;
      for (const float x : p) entropy -= x > 0 ? x * std::log(x) : 0;
      EXPECT_NEAR(trace.entropy[i], entropy, 1e-4);
    }
  }
}

TEST_P(StepTest, TracesSayWhatEachPolicyDid) {
  const LoadedRunner loaded = Load(Routed(2));
  StepDriver driver(*loaded.runner);
  const RouteTrace base = driver.Sequence(kPrompt, Policy(RoutingPolicy::Mode::kBaseOnly)).routes;
  EXPECT_THAT(base.experts, Each(kNoExpert));
  EXPECT_THAT(base.weights, Each(0.0f));
  EXPECT_TRUE(std::all_of(base.entropy.begin(), base.entropy.end(), [](float h) { return std::isnan(h); }));
  const RouteTrace forced = driver.Sequence(kPrompt, Forced(2)).routes;
  EXPECT_EQ(forced.k, 1);
  EXPECT_THAT(forced.experts, Each(2));
  EXPECT_THAT(forced.weights, Each(1.0f));
  EXPECT_THAT(forced.margin, Each(std::numeric_limits<float>::infinity()));
  RoutingPolicy mixture = Policy(RoutingPolicy::Mode::kMixture);
  mixture.mixture = {0.25f, 0, 0.5f};
  const RouteTrace mixed = driver.Sequence({5}, mixture).routes;
  EXPECT_EQ(mixed.k, 2);
  EXPECT_THAT(mixed.experts, ElementsAre(2, 0, 2, 0));
  EXPECT_THAT(mixed.weights, ElementsAre(0.5f, 0.25f, 0.5f, 0.25f));
  const RouteTrace learned = driver.Sequence(kPrompt, RoutingPolicy{}).routes;
  EXPECT_EQ(learned.k, 2);
  ASSERT_EQ(learned.experts.size(), kPrompt.size() * 2 * 2);
  for (size_t i = 0; i < learned.experts.size(); i += 2) {
    EXPECT_NEAR(learned.weights[i] + learned.weights[i + 1], 1, 1e-6);
    EXPECT_GE(learned.weights[i], learned.weights[i + 1]);
    EXPECT_NE(learned.experts[i], learned.experts[i + 1]);
  }
  for (const float h : learned.entropy) EXPECT_TRUE(h > 0 && h <= std::log(3.0f) + 1e-6f) << h;
}

TEST_P(StepTest, MaskedExpertsAreNeverChosen) {
  const LoadedRunner loaded = Load(Routed(2));
  RoutingPolicy policy;
  policy.masked = {false, false, true};
  const RouteTrace two = StepDriver(*loaded.runner).Sequence(kPrompt, policy).routes;
  EXPECT_EQ(std::count(two.experts.begin(), two.experts.end(), 2), 0);
  policy.masked = {true, true, true};
  StepDriver driver(*loaded.runner, 2);
  const SequenceOutput none = driver.Sequence(kPrompt, policy);
  EXPECT_THAT(none.routes.experts, Each(kNoExpert));
  EXPECT_EQ(none.logits, driver.Sequence(kPrompt, Policy(RoutingPolicy::Mode::kBaseOnly)).logits);
}

TEST_P(StepTest, ReplayedRoutesGiveTheSameLogits) {
  const LoadedRunner loaded = Load(Routed(2));
  StepDriver driver(*loaded.runner);
  const SequenceOutput recorded = driver.Sequence(kPrompt, RoutingPolicy{}, 8);
  RoutingPolicy replay = Policy(RoutingPolicy::Mode::kReplay);
  replay.replay_k = recorded.routes.k;
  replay.replay_experts = recorded.routes.experts;
  replay.replay_weights = recorded.routes.weights;
  const SequenceOutput again = driver.Sequence(kPrompt, replay, 8);
  EXPECT_EQ(again.logits, recorded.logits);
  EXPECT_EQ(again.routes.experts, recorded.routes.experts);
  // Rows are looked up by position, so chunks replay the same routes.
  EXPECT_EQ(driver.Sequence(kPrompt, replay, 3).routes.experts, recorded.routes.experts);
}

TEST_P(StepTest, FixedMixtureOfOneIsForced) {
  const LoadedRunner loaded = Load(Plain());
  StepDriver driver(*loaded.runner);
  RoutingPolicy mixture = Policy(RoutingPolicy::Mode::kMixture);
  mixture.mixture = {0, 0, 1};
  EXPECT_EQ(driver.Sequence(kPrompt, mixture).logits, driver.Sequence(kPrompt, Forced(2)).logits);
  mixture.mixture = {0, 1, 0};  // all on zero
  EXPECT_EQ(driver.Sequence(kPrompt, mixture).logits, driver.Sequence(kPrompt, Policy(RoutingPolicy::Mode::kBaseOnly)).logits);
}

TEST_P(StepTest, CountsSumOverTheRowsOfTheStep) {
  const LoadedRunner loaded = Load(Routed(1));
  StepDriver driver(*loaded.runner);
  RoutingPolicy mixture = Policy(RoutingPolicy::Mode::kMixture);
  mixture.mixture = {0.25f, 0.25f, 0};
  const RoutingPolicy base = Policy(RoutingPolicy::Mode::kBaseOnly), law = Forced(0), learned;
  const std::vector<int32_t> a = driver.TakeSlots(2), b = driver.TakeSlots(3), c = driver.TakeSlots(1), d = driver.TakeSlots(2);
  const StepResult result = driver.Run(kPrompt, {{0, 2, a, &base}, {2, 5, b, &law}, {5, 6, c, &mixture}, {6, 8, d, &learned}});
  ASSERT_EQ(result.routes.size(), 4u);
  const RouteTrace& trace = result.routes[3];
  for (int layer = 0; layer < 2; ++layer) {
    std::vector<uint64_t> tokens = {4, 1, 0};  // three forced and one mixed; one mixed
    std::vector<double> weight = {3.25, 0.25, 0};
    double base_mass = 2 + 0 + 0.75, entropy = 0;
    for (int row = 0; row < 2; ++row) {
      const ExpertIndex expert = trace.experts[row * 2 + layer];
      ++tokens[expert];
      weight[expert] += trace.weights[row * 2 + layer];
      base_mass += 1 - (expert == 1 ? 0 : trace.weights[row * 2 + layer]);
      entropy += trace.entropy[row * 2 + layer];
    }
    for (int e = 0; e < 3; ++e) {
      EXPECT_EQ(result.counts.tokens[layer * 3 + e], tokens[e]) << layer << " " << e;
      EXPECT_NEAR(result.counts.weight[layer * 3 + e], weight[e], 1e-6) << layer << " " << e;
    }
    EXPECT_NEAR(result.counts.base_mass[layer], base_mass, 1e-6);
    EXPECT_NEAR(result.counts.entropy_sum[layer], entropy, 1e-6);
    EXPECT_EQ(result.counts.entropy_rows[layer], 2u);
    EXPECT_EQ(result.counts.rows[layer], 8u);
  }
}

// Neighbours with different best experts in one layer of a trace.
uint64_t FlipsOf(const RouteTrace& trace, int32_t layer) {
  uint64_t flips = 0;
  const auto best = [&](int32_t row) { return trace.experts[static_cast<size_t>((row * trace.layers + layer) * trace.k)]; };
  for (int32_t row = 1; row < trace.rows; ++row) flips += best(row) != best(row - 1);
  return flips;
}

TEST_P(StepTest, FlipsDoNotDependOnHowASequenceIsCut) {
  const LoadedRunner loaded = Load(Routed(1));
  StepDriver driver(*loaded.runner);
  const RoutingPolicy learned;
  const auto size = static_cast<int32_t>(kPrompt.size());
  uint64_t all_flips = 0;
  for (const int32_t chunk : {8, 3, 1}) {
    const std::vector<int32_t> slots = driver.TakeSlots(kPrompt.size());
    std::vector<uint64_t> pairs(2), flips(2);
    RouteTrace trace;
    for (int32_t begin = 0; begin < size; begin += chunk) {
      const int32_t end = std::min(size, begin + chunk);
      const Segment segment{0, end - begin, std::span(slots).first(end), &learned};
      const StepResult result = driver.Run({kPrompt.begin() + begin, kPrompt.begin() + end}, {segment});
      for (int layer = 0; layer < 2; ++layer) {
        pairs[layer] += result.counts.pairs[layer];
        flips[layer] += result.counts.flips[layer];
      }
      AppendTrace(result.routes.front(), &trace);
    }
    EXPECT_THAT(pairs, Each(kPrompt.size() - 1)) << chunk;
    EXPECT_THAT(flips, ElementsAre(FlipsOf(trace, 0), FlipsOf(trace, 1))) << chunk;
    all_flips += flips[0] + flips[1];
  }
  EXPECT_GT(all_flips, 0u);  // else nothing was compared
}

// A branch's first row follows the last one of its context, also when both are rows of one step; a sequence's first row follows none,
// although its slot's neighbours hold other sequences; rows of other modes are not compared.
TEST_P(StepTest, FlipsFollowTheSequenceNotTheRows) {
  const LoadedRunner loaded = Load(Routed(1));
  StepDriver driver(*loaded.runner);
  const RoutingPolicy learned, law = Forced(0);
  const std::vector<int32_t> context = driver.TakeSlots(3), a_own = driver.TakeSlots(2), other = driver.TakeSlots(1),
                             forced = driver.TakeSlots(2);
  std::vector<int32_t> a = context;
  a.insert(a.end(), a_own.begin(), a_own.end());
  const StepResult result =
      driver.Run(kPrompt, {{0, 3, context, &learned}, {3, 5, a, &learned}, {5, 6, other, &learned}, {6, 8, forced, &law}});
  for (int layer = 0; layer < 2; ++layer) {
    RouteTrace joined = result.routes[0];
    AppendTrace(result.routes[1], &joined);
    EXPECT_EQ(result.counts.pairs[layer], 4u);
    EXPECT_EQ(result.counts.flips[layer], FlipsOf(joined, layer));
    EXPECT_EQ(std::accumulate(result.counts.learned_tokens.begin() + layer * 3, result.counts.learned_tokens.begin() + (layer + 1) * 3,
                              uint64_t{0}),
              6u);
  }
}

TEST_P(StepTest, RoutesAreRecordedOnlyWhereAsked) {
  const LoadedRunner loaded = Load(Routed(1));
  StepDriver driver(*loaded.runner);
  const RoutingPolicy learned;
  const std::vector<int32_t> a = driver.TakeSlots(4), b = driver.TakeSlots(4);
  Step step;
  step.snapshot = loaded.runner->snapshot();
  step.tokens = kPrompt;
  step.segments = {{0, 4, a, &learned}, {4, 8, b, &learned, /*record_routes=*/true}};
  const auto result = loaded.runner->Run(step);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->routes[0].rows, 0);
  EXPECT_TRUE(result->routes[0].experts.empty());
  EXPECT_EQ(result->routes[1].rows, 4);
  EXPECT_EQ(result->counts.rows[0], 8u);
}

// An expert whose delta overflows: only its own request fails, by name, and the pool still serves the others.
TEST_P(StepTest, ValuesThatAreNotFiniteNameLayerAndPosition) {
  TinyTensors huge = TinyExpertTensors(spec_, 3, 21);
  for (auto& [name, tensor] : huge) {
    if (name.find("layers.1.mlp.down_proj.lora_B") == std::string::npos) continue;
    for (float& value : tensor.values) value = 3e38f;
  }
  ASSERT_TRUE(WriteTinyExpert(Path("huge"), 3, huge).ok());
  RunnerOptions options = Plain();
  options.experts[0] = {"huge", Path("huge")};
  const LoadedRunner loaded = Load(options);
  StepDriver driver(*loaded.runner);
  const RoutingPolicy base = Policy(RoutingPolicy::Mode::kBaseOnly), forced = Forced(0);
  const SequenceOutput before = driver.Sequence(kPrompt, base, 4);
  const std::vector<int32_t> good = driver.TakeSlots(8), bad = driver.TakeSlots(4);
  Step step;
  step.snapshot = loaded.runner->snapshot();
  step.tokens = kPrompt;
  step.segments = {{0, 4, std::span(good).first(4), &base}, {4, 8, bad, &forced}};
  const auto beside = loaded.runner->Run(step);
  ASSERT_TRUE(beside.ok()) << beside.status();
  ASSERT_EQ(beside->failures.size(), 1u);
  EXPECT_EQ(beside->failures[0].segment, 1);
  EXPECT_EQ(beside->failures[0].status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(Message(beside->failures[0].status)), HasSubstr("layer 1: hidden state of row 0 (position 0)"));
  step.segments = {{0, 4, std::span(good).first(4), &base}};
  step.tokens.resize(4);
  ASSERT_TRUE(loaded.runner->Run(step).ok());
  step.tokens.assign(kPrompt.begin() + 4, kPrompt.end());
  step.segments = {{0, 4, good, &base}};
  step.logits = {{3}};
  const auto after = loaded.runner->Run(step);
  ASSERT_TRUE(after.ok()) << after.status();
  for (int v = 0; v < spec_.vocab; ++v) ASSERT_NEAR(after->logits[0][v], before.logits[7][v], 1e-5);
}

TEST_P(StepTest, RefusesASnapshotItDidNotMake) {
  class Foreign final : public Snapshot {
   public:
    const SnapshotInfo& info() const override { return info_; }
    SnapshotInfo info_;
  };
  const LoadedRunner loaded = Load(Plain());
  Step step;
  step.snapshot = std::make_shared<Foreign>();
  EXPECT_EQ(loaded.runner->Run(step).status().code(), absl::StatusCode::kInternal);
}

INSTANTIATE_TEST_SUITE_P(Backends, StepTest, ::testing::Values("reference", "fast"), [](const auto& info) { return info.param; });

}  // namespace
}  // namespace switchyard::testing
