// Parts loaded beside a running engine, and the snapshots put together from them.
#include "engine/runtime/snapshot_builder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "engine/artifact/router_artifact.h"
#include "tests/runner/tiny_fixture.h"
#include "tests/testing/step_driver.h"

namespace switchyard::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const std::vector<TokenId> kPrompt = {5, 9, 33, 12, 60, 7, 7, 21, 40, 3};

class SnapshotBuilderTest : public TinyFixture {
 protected:
  void SetUp() override {
    TinyFixture::SetUp();
    ASSERT_TRUE(WriteTinyExpert(Path("medicine"), spec_, 4, 31).ok());
    ASSERT_TRUE(WriteTinyExpert(Path("law2"), spec_, 3, 32).ok());
    loaded_ = Load(RoutedOptions(2));
    driver_ = std::make_unique<StepDriver>(*loaded_.runner);
  }

  std::shared_ptr<const ExpertPart> Expert(const std::string& directory) {
    auto part = loaded_.builder->LoadExpert(directory);
    EXPECT_TRUE(part.ok()) << part.status();
    return part.ok() ? *part : nullptr;
  }
  std::shared_ptr<const Snapshot> Build(const SnapshotPlan& plan) {
    auto snapshot = loaded_.builder->Build(plan);
    EXPECT_TRUE(snapshot.ok()) << snapshot.status();
    return snapshot.ok() ? *snapshot : nullptr;
  }
  SequenceOutput Run(std::shared_ptr<const Snapshot> snapshot, const RoutingPolicy& policy) {
    driver_->Use(std::move(snapshot));
    return driver_->Sequence(kPrompt, policy);
  }
  static RoutingPolicy Forced(ExpertIndex expert) {
    RoutingPolicy policy;
    policy.mode = RoutingPolicy::Mode::kForced;
    policy.forced = expert;
    return policy;
  }
  // The names of a trace's experts, slot by slot, "-" for an unused one.
  static std::vector<std::string> Names(const RouteTrace& trace, const SnapshotInfo& info) {
    std::vector<std::string> names;
    for (const ExpertIndex expert : trace.experts) names.push_back(expert == kNoExpert ? "-" : info.experts[expert].name);
    return names;
  }
  // On `masked` the router decides as the original does (default: the runner's own) when `policy` forbids it the same experts: same logits,
  // bit by bit.
  void ExpectLikeMasking(const std::shared_ptr<const Snapshot>& masked, const std::vector<std::string>& forbidden,
                         std::shared_ptr<const Snapshot> original = nullptr) {
    if (original == nullptr) original = loaded_.runner->snapshot();
    RoutingPolicy policy;
    for (const SnapshotInfo::Expert& expert : original->info().experts) {
      policy.masked.push_back(std::find(forbidden.begin(), forbidden.end(), expert.name) != forbidden.end());
    }
    const SequenceOutput want = Run(original, policy), got = Run(masked, {});
    EXPECT_EQ(got.logits, want.logits);
    EXPECT_EQ(got.routes.weights, want.routes.weights);
    EXPECT_EQ(got.routes.entropy, want.routes.entropy);
    EXPECT_EQ(Names(got.routes, masked->info()), Names(want.routes, original->info()));
  }

  // Over the experts of router2. Returns the tables, [L] of [vocabulary], and their experts' names in names_.
  std::vector<std::vector<int32_t>> WriteHash(const std::string& directory, int vocabulary) {
    const auto like = ReadRouterArtifact(Path("router2"));
    EXPECT_TRUE(like.ok()) << like.status();
    RouterManifest manifest = like->manifest;
    manifest.kind = "hash";
    manifest.top_k = 1;
    manifest.golden_probes = 0;
    names_.clear();
    for (const RouterExpertBinding& expert : manifest.experts) names_.push_back(expert.name);
    std::vector<std::vector<int32_t>> tables(static_cast<size_t>(manifest.num_layers));
    std::vector<TensorView> views;
    for (size_t l = 0; l < tables.size(); ++l) {
      for (int id = 0; id < vocabulary; ++id) {
        tables[l].push_back(static_cast<int32_t>((static_cast<size_t>(id) * (l + 3) / 2) % names_.size()));
      }
      views.push_back(
          {"layers." + std::to_string(l) + ".router.table", DType::kI32, {vocabulary}, std::as_bytes(std::span(tables[l])), nullptr});
    }
    const Status written = WriteRouterArtifact(directory, manifest, views);
    EXPECT_TRUE(written.ok()) << written;
    return tables;
  }

  // Over the experts of router2, each with a threshold of its own that about half of the rows reach.
  void WriteExpertChoice(const std::string& directory) {
    const auto like = ReadRouterArtifact(Path("router2"));
    ASSERT_TRUE(like.ok()) << like.status();
    RouterManifest manifest = like->manifest;
    manifest.kind = "expert_choice";
    manifest.weight_mode = "raw";
    manifest.golden_probes = 0;
    const size_t experts = manifest.experts.size(), hidden = static_cast<size_t>(manifest.hidden_size);
    std::vector<float> weight, threshold;
    for (size_t i = 0; i < experts * hidden; ++i) weight.push_back(.3f * std::sin(static_cast<float>(i * i % 1009)));
    for (size_t e = 0; e < experts; ++e) threshold.push_back(.25f + .08f * static_cast<float>(e));
    std::vector<TensorView> views;
    for (int32_t l = 0; l < manifest.num_layers; ++l) {
      const std::string prefix = "layers." + std::to_string(l) + ".router.";
      views.push_back({prefix + "weight",
                       DType::kF32,
                       {static_cast<int64_t>(experts), static_cast<int64_t>(hidden)},
                       std::as_bytes(std::span(weight)),
                       nullptr});
      views.push_back({prefix + "threshold", DType::kF32, {static_cast<int64_t>(experts)}, std::as_bytes(std::span(threshold)), nullptr});
    }
    const Status written = WriteRouterArtifact(directory, manifest, views);
    EXPECT_TRUE(written.ok()) << written;
  }

  LoadedRunner loaded_;
  std::unique_ptr<StepDriver> driver_;
  std::vector<std::string> names_;
};

TEST_F(SnapshotBuilderTest, TheSameParts) {
  const auto again = Build(loaded_.plan);
  EXPECT_EQ(again->info().generation, loaded_.runner->snapshot()->info().generation);
  EXPECT_EQ(Run(again, {}).logits, Run(loaded_.runner->snapshot(), {}).logits);
}

TEST_F(SnapshotBuilderTest, AnExpertAddedUnderARunningRouterIsReachableByNameOnly) {
  SnapshotPlan plan = loaded_.plan;
  plan.experts.insert(plan.experts.begin(), {"medicine", Expert(Path("medicine"))});
  EXPECT_THAT(std::string(Message(loaded_.builder->Build(plan).status())),
              AllOf(HasSubstr("router tiny is bound to [law "), HasSubstr("served are [medicine ")));
  EXPECT_EQ(loaded_.builder->Build(plan).status().code(), absl::StatusCode::kFailedPrecondition);
  plan.allow_masking = true;
  const auto snapshot = Build(plan);
  // The router's experts keep their order and come first.
  ASSERT_EQ(snapshot->info().experts.size(), 4u);
  EXPECT_EQ(snapshot->info().experts[0].name, "law");
  EXPECT_EQ(snapshot->info().experts[3].name, "medicine");
  EXPECT_NE(snapshot->info().generation, loaded_.runner->snapshot()->info().generation);
  ExpectLikeMasking(snapshot, {});
  // By name it is that expert: alone in a snapshot without router it says the same.
  const auto alone = Build({.experts = {{"medicine", plan.experts[0].part}}});
  EXPECT_EQ(Run(snapshot, Forced(3)).logits, Run(alone, Forced(0)).logits);
  EXPECT_NE(Run(snapshot, Forced(3)).logits, Run(snapshot, Forced(0)).logits);
}

TEST_F(SnapshotBuilderTest, AnExpertReplacedIsMaskedUntilARouterNamesIt) {
  SnapshotPlan plan = loaded_.plan;
  plan.allow_masking = true;
  plan.experts[0].part = Expert(Path("law2"));
  const auto snapshot = Build(plan);
  ASSERT_EQ(snapshot->info().experts.size(), 3u);
  EXPECT_EQ(snapshot->info().experts.back().name, "law");
  ExpectLikeMasking(snapshot, {"law"});
}

TEST_F(SnapshotBuilderTest, AnExpertRemovedIsMasked) {
  SnapshotPlan plan = loaded_.plan;
  plan.allow_masking = true;
  plan.experts.erase(plan.experts.begin() + 2);
  ExpectLikeMasking(Build(plan), {"code"});
}

// Names and hashes say which expert is which; the router's indices stay its own.
TEST_F(SnapshotBuilderTest, AnotherOrderIsRefusedOrPutRight) {
  SnapshotPlan plan = loaded_.plan;
  std::swap(plan.experts[0], plan.experts[2]);
  EXPECT_EQ(loaded_.builder->Build(plan).status().code(), absl::StatusCode::kFailedPrecondition);
  plan.allow_masking = true;
  const auto snapshot = Build(plan);
  EXPECT_EQ(snapshot->info().generation, loaded_.runner->snapshot()->info().generation);
  ExpectLikeMasking(snapshot, {});
}

// Routes follow the ids of the tokens: over a whole prompt, over parts of one, beside a neighbour with routes of its own.
TEST_F(SnapshotBuilderTest, AHashRouterIsGivenTheTokens) {
  const std::vector<std::vector<int32_t>> tables = WriteHash(Path("hash"), spec_.vocab);
  auto router = loaded_.builder->LoadRouter(Path("hash"));
  ASSERT_TRUE(router.ok()) << router.status();
  SnapshotPlan plan = loaded_.plan;
  plan.router = *router;
  const auto snapshot = Build(plan);
  const auto& experts = snapshot->info().experts;
  const SequenceOutput whole = Run(snapshot, {});
  ASSERT_EQ(whole.routes.experts.size(), kPrompt.size() * tables.size());
  for (size_t row = 0; row < kPrompt.size(); ++row) {
    for (size_t l = 0; l < tables.size(); ++l) {
      EXPECT_EQ(experts[whole.routes.experts[row * tables.size() + l]].name, names_[tables[l][kPrompt[row]]]) << row << " " << l;
    }
  }
  EXPECT_NE(whole.logits, Run(loaded_.runner->snapshot(), {}).logits);

  driver_->Use(snapshot);
  for (const size_t chunk : {size_t{1}, size_t{4}, kPrompt.size() - 1}) {
    const SequenceOutput parts = driver_->Sequence(kPrompt, {}, chunk);
    EXPECT_EQ(parts.routes.experts, whole.routes.experts) << chunk;
    EXPECT_EQ(parts.logits, whole.logits) << chunk;
  }
  // A neighbour before it that does not route by itself: its ids are not this sequence's.
  const RoutingPolicy forced = Forced(0), learned;
  std::vector<TokenId> both = {1, 2, 3};
  both.insert(both.end(), kPrompt.begin(), kPrompt.end());
  const std::vector<int32_t> slots = driver_->TakeSlots(3), own = driver_->TakeSlots(kPrompt.size());
  const StepResult beside = driver_->Run(both, {{0, 3, slots, &forced}, {3, static_cast<int32_t>(both.size()), own, &learned}});
  ASSERT_EQ(beside.routes.size(), 2u);
  EXPECT_EQ(beside.routes[1].experts, whole.routes.experts);
  EXPECT_EQ(std::vector(beside.logits.begin() + 3, beside.logits.end()), whole.logits);
}

// Experts that stand elsewhere than in the router keep their thresholds.
TEST_F(SnapshotBuilderTest, ThresholdsFollowTheirExperts) {
  WriteExpertChoice(Path("choice"));
  auto router = loaded_.builder->LoadRouter(Path("choice"));
  ASSERT_TRUE(router.ok()) << router.status();
  SnapshotPlan plan = loaded_.plan;
  plan.router = *router;
  const auto whole = Build(plan);
  const SequenceOutput output = Run(whole, {});
  const auto unused = std::count(output.routes.experts.begin(), output.routes.experts.end(), kNoExpert);
  EXPECT_GT(unused, 0);
  EXPECT_LT(unused, static_cast<int64_t>(output.routes.experts.size()));
  plan.allow_masking = true;
  const std::string first = plan.experts[0].name;
  plan.experts.erase(plan.experts.begin());
  ExpectLikeMasking(Build(plan), {first}, whole);
}

TEST_F(SnapshotBuilderTest, AHashRouterOfAnotherVocabularyIsRefused) {
  WriteHash(Path("short"), spec_.vocab - 1);
  const Status refused = loaded_.builder->LoadRouter(Path("short")).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("token ids"));
}

TEST_F(SnapshotBuilderTest, ARouterThatKnowsNobodyIsRefused) {
  SnapshotPlan plan{.experts = {{"medicine", Expert(Path("medicine"))}}, .router = loaded_.plan.router, .allow_masking = true};
  const Status status = loaded_.builder->Build(plan).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(Message(status)), HasSubstr("knows none of the experts"));
}

TEST_F(SnapshotBuilderTest, PlansThatMakeNoSense) {
  const auto code = [&](const SnapshotPlan& plan) { return loaded_.builder->Build(plan).status().code(); };
  const auto part = Expert(Path("law"));
  EXPECT_EQ(code({.experts = {{"a", part}, {"a", part}}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.experts = {{"", part}}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.experts = {{"a", nullptr}}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.experts = {{"a", Expert("")}, {"b", Expert("")}}}), absl::StatusCode::kInvalidArgument);
}

TEST_F(SnapshotBuilderTest, InspectingAgreesWithLoading) {
  const auto inspected = loaded_.builder->InspectExpert(Path("medicine"));
  ASSERT_TRUE(inspected.ok()) << inspected.status();
  const auto part = Expert(Path("medicine"));
  EXPECT_EQ(inspected->generation, part->info().generation);
  EXPECT_EQ(inspected->max_rank, 4);
  EXPECT_GT(inspected->bytes, 0);
  EXPECT_GE(part->info().bytes, inspected->bytes);  // and padding
  const auto router = loaded_.builder->InspectRouter(Path("router2"));
  ASSERT_TRUE(router.ok()) << router.status();
  EXPECT_EQ(router->generation, loaded_.runner->snapshot()->info().router_generation);
  EXPECT_EQ(router->experts.size(), 3u);
  EXPECT_EQ(loaded_.builder->InspectExpert(Path("nowhere")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(loaded_.builder->LoadRouter(Path("nowhere")).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(SnapshotBuilderTest, ARouterOfAnotherBaseIsRefusedNamingBoth) {
  TinyModelSpec other = spec_;
  other.seed = 77;
  ASSERT_TRUE(WriteTinyBase(Path("other"), other).ok());
  TinyRouterSpec router;
  router.experts = {{"law", Path("law")}, {"zero", ""}};
  ASSERT_TRUE(WriteTinyRouter(Path("foreign"), other, Path("other"), router).ok());
  for (const Status& status :
       {loaded_.builder->LoadRouter(Path("foreign")).status(), loaded_.builder->InspectRouter(Path("foreign")).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(Message(status)), HasSubstr(loaded_.builder->base_generation()));
  }
}

TEST_F(SnapshotBuilderTest, FreedWithItsLastOwner) {
  auto part = Expert(Path("medicine"));
  const std::weak_ptr<const ExpertPart> alive = part;
  auto snapshot = Build({.experts = {{"medicine", part}}});
  part.reset();
  EXPECT_FALSE(alive.expired());
  snapshot.reset();
  EXPECT_TRUE(alive.expired());
}

// Loads beside steps: answers keep their bits.
TEST_F(SnapshotBuilderTest, LoadingDoesNotDisturbSteps) {
  const SequenceOutput want = Run(loaded_.runner->snapshot(), {});
  std::atomic<bool> done = false;
  std::atomic<int> loads = 0;
  std::thread loader([&] {
    while (!done) {
      SnapshotPlan plan = loaded_.plan;
      plan.experts.push_back({"medicine", *loaded_.builder->LoadExpert(Path("medicine"))});
      plan.router = *loaded_.builder->LoadRouter(Path("router2"));
      plan.allow_masking = true;
      if (loaded_.builder->Build(plan).ok()) ++loads;
    }
  });
  int runs = 0;
  StepDriver driver(*loaded_.runner, 3);
  const std::vector<int32_t> slots = driver.TakeSlots(kPrompt.size());
  const RoutingPolicy learned;
  while (loads < 5 || runs < 50) {
    const StepResult result = driver.Run(kPrompt, {{0, static_cast<int32_t>(kPrompt.size()), slots, &learned}});
    ASSERT_EQ(result.logits, want.logits);
    ++runs;
  }
  done = true;
  loader.join();
}

}  // namespace
}  // namespace switchyard::testing
