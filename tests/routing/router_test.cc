#include "engine/routing/router.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/routing/router_draft.h"

namespace switchyard {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int32_t kInner = 19;

Draft MlpDraft(at::ScalarType dtype = at::kFloat, int32_t top_k = 2) {
  Draft draft("dense2moe_mlp", top_k);
  for (int l = 0; l < kLayers; ++l) {
    const std::string prefix = absl::StrFormat("layers.%d.router.", l);
    draft[prefix + "fc1.weight"] = (at::randn({kInner, kHidden}) * .3).to(dtype);
    draft[prefix + "fc1.bias"] = at::randn({kInner}).to(dtype);
    draft[prefix + "fc2.weight"] = at::randn({kExperts, kInner}).to(dtype);
    draft[prefix + "fc2.bias"] = at::randn({kExperts}).to(dtype);
  }
  return draft;
}

Draft LinearDraft(bool bias) {
  Draft draft("linear", 2);
  for (int l = 0; l < kLayers; ++l) {
    draft[absl::StrFormat("layers.%d.router.weight", l)] = at::randn({kExperts, kHidden});
    if (bias) draft[absl::StrFormat("layers.%d.router.bias", l)] = at::randn({kExperts});
  }
  return draft;
}

at::Tensor Double(Draft& draft, int layer, const std::string& name) {
  return draft[absl::StrFormat("layers.%d.router.%s", layer, name)].to(at::kDouble);
}

at::Tensor MlpOracle(Draft& draft, int layer, const at::Tensor& x) {
  const at::Tensor hidden =
      at::relu(at::matmul(x.to(at::kDouble), Double(draft, layer, "fc1.weight").t()) + Double(draft, layer, "fc1.bias"));
  return at::matmul(hidden, Double(draft, layer, "fc2.weight").t()) + Double(draft, layer, "fc2.bias");
}

double MaxError(const at::Tensor& got, const at::Tensor& want) { return (got.to(at::kDouble) - want).abs().max().item<double>(); }

class RouterTest : public ::testing::Test {
 protected:
  RouterTest() { at::manual_seed(5); }

  StatusOr<std::unique_ptr<Router>> Load(const Draft& draft) { return LoadRouter(draft.Publish(), fast_); }
  std::string LoadError(const Draft& draft, absl::StatusCode code) {
    const Status status = Load(draft).status();
    EXPECT_EQ(status.code(), code) << status;
    return std::string(Message(status));
  }
  // Records what the router does now as the artifact's golden probes.
  void AddProbes(Draft* draft, int64_t probes) {
    const auto router = Load(*draft);
    ASSERT_TRUE(router.ok()) << router.status();
    draft->manifest.golden_probes = static_cast<int32_t>(probes);
    const int32_t k = draft->manifest.top_k;
    for (int l = 0; l < kLayers; ++l) {
      const at::Tensor x = at::randn({probes, kHidden}), logits = (*router)->Logits(l, x);
      LayerRoutes routes;
      routes.Resize(probes, k);
      for (int64_t row = 0; row < probes; ++row) {
        ASSERT_TRUE(SelectRow({logits.const_data_ptr<float>() + row * kExperts, kExperts}, (*router)->rule(), {}, row, &routes).ok());
      }
      at::Tensor experts = at::empty({probes, k}, at::kInt), weights = at::empty({probes, k}, at::kFloat);
      std::copy(routes.experts.begin(), routes.experts.end(), experts.mutable_data_ptr<int32_t>());
      std::copy(routes.weights.begin(), routes.weights.end(), weights.mutable_data_ptr<float>());
      (*draft)[absl::StrFormat("probe.layers.%d.x", l)] = x;
      (*draft)[absl::StrFormat("probe.layers.%d.experts", l)] = experts;
      (*draft)[absl::StrFormat("probe.layers.%d.weights", l)] = weights;
    }
  }
  Status Replay(const Draft& draft) {
    const RouterArtifact artifact = draft.Publish();
    const auto router = LoadRouter(artifact, fast_);
    if (!router.ok()) return router.status();
    return ReplayGoldenProbes(artifact, **router, fast_);
  }

  kernels::ThreadPool pool_{2};
  Compute reference_{Backend::kReference, at::kFloat, nullptr};
  Compute fast_{Backend::kFast, at::kFloat, &pool_};
  Compute fast_bf16_{Backend::kFast, at::kBFloat16, &pool_};
  Compute reference_bf16_{Backend::kReference, at::kBFloat16, nullptr};
};

TEST_F(RouterTest, MlpEqualsItsFormula) {
  Draft draft = MlpDraft();
  const RouterArtifact artifact = draft.Publish();
  const at::Tensor x = at::randn({9, kHidden});
  for (const Compute* compute : {&reference_, &fast_, &fast_bf16_}) {
    const auto router = LoadRouter(artifact, *compute);
    ASSERT_TRUE(router.ok()) << router.status();
    EXPECT_EQ((*router)->num_experts(), kExperts);
    EXPECT_EQ((*router)->num_layers(), kLayers);
    EXPECT_GE((*router)->bytes(), kLayers * 4 * (kHidden * kInner + kInner + kExperts * kInner + kExperts));
    for (int l = 0; l < kLayers; ++l) {
      const at::Tensor logits = (*router)->Logits(l, x);
      EXPECT_EQ(logits.scalar_type(), at::kFloat);
      EXPECT_LT(MaxError(logits, MlpOracle(draft, l, x)), 2e-5);
    }
  }
}

TEST_F(RouterTest, Bf16MlpOverABf16BaseRoundsTheInputAndNothingElse) {
  Draft draft = MlpDraft(at::kBFloat16);
  const RouterArtifact artifact = draft.Publish();
  const at::Tensor x = at::randn({9, kHidden}), rounded = x.to(at::kBFloat16);
  const auto fast = LoadRouter(artifact, fast_bf16_), reference = LoadRouter(artifact, reference_bf16_), fp32 = LoadRouter(artifact, fast_);
  ASSERT_TRUE(fast.ok() && reference.ok() && fp32.ok());
  EXPECT_LT((*fast)->bytes(), (*fp32)->bytes());
  EXPECT_LT(MaxError((*fast)->Logits(0, x), MlpOracle(draft, 0, rounded)), 2e-5);
  EXPECT_LT(MaxError((*reference)->Logits(0, rounded), MlpOracle(draft, 0, rounded)), 2e-5);
  EXPECT_LT(MaxError((*fp32)->Logits(0, x), MlpOracle(draft, 0, x)), 2e-5);  // an fp32 base: x as it is
}

// Not a silent pick: the NaN reaches the logits, where the selection refuses it.
TEST_F(RouterTest, NanInTheInputReachesTheLogits) {
  const RouterArtifact artifact = MlpDraft().Publish();
  for (const float sign : {1.0f, -1.0f}) {
    at::Tensor x = at::randn({3, kHidden});
    x[1][4] = std::copysign(std::numeric_limits<float>::quiet_NaN(), sign);
    for (const Compute* compute : {&reference_, &fast_, &fast_bf16_}) {
      const auto router = LoadRouter(artifact, *compute);
      ASSERT_TRUE(router.ok());
      const at::Tensor logits = (*router)->Logits(0, x);
      EXPECT_TRUE(logits[1].isnan().all().item<bool>());
      EXPECT_FALSE(logits[0].isnan().any().item<bool>());
    }
  }
}

TEST_F(RouterTest, LinearEqualsItsFormula) {
  for (const bool bias : {false, true}) {
    Draft draft = LinearDraft(bias);
    const auto router = Load(draft);
    ASSERT_TRUE(router.ok()) << router.status();
    const at::Tensor x = at::randn({9, kHidden});
    at::Tensor want = at::matmul(x.to(at::kDouble), Double(draft, 1, "weight").t());
    if (bias) want = want + Double(draft, 1, "bias");
    EXPECT_LT(MaxError((*router)->Logits(1, x), want), 2e-5);
  }
}

TEST_F(RouterTest, RowsDoNotDependOnTheirNeighbours) {
  for (const Draft& draft : {MlpDraft(), LinearDraft(true)}) {
    const auto router = Load(draft);
    ASSERT_TRUE(router.ok()) << router.status();
    const at::Tensor x = at::randn({70, kHidden}), all = (*router)->Logits(0, x);
    for (const int64_t row : {0, 1, 33, 69}) EXPECT_TRUE(at::equal((*router)->Logits(0, x.narrow(0, row, 1)), all.narrow(0, row, 1)));
    EXPECT_TRUE(at::equal((*router)->Logits(0, x.narrow(0, 5, 40)), all.narrow(0, 5, 40)));
  }
}

// Tested with rows of zeros: equal rows need not give bit-equal logits, zeros do.
TEST_F(RouterTest, ZeroRowsTieAndGoToTheLowestIndex) {
  Draft draft("linear", 2);
  for (int l = 0; l < kLayers; ++l) draft[absl::StrFormat("layers.%d.router.weight", l)] = at::zeros({kExperts, kHidden});
  const auto router = Load(draft);
  ASSERT_TRUE(router.ok()) << router.status();
  const at::Tensor logits = (*router)->Logits(0, at::randn({1, kHidden}));
  LayerRoutes routes;
  routes.Resize(1, 2);
  ASSERT_TRUE(SelectRow({logits.const_data_ptr<float>(), kExperts}, (*router)->rule(), {}, 0, &routes).ok());
  EXPECT_THAT(routes.experts, testing::ElementsAre(0, 1));
}

TEST_F(RouterTest, RuleComesFromTheManifest) {
  Draft draft = MlpDraft(at::kFloat, 3);
  draft.manifest.weight_mode = "raw";
  draft.manifest.round_probabilities_bf16 = true;
  const auto router = Load(draft);
  ASSERT_TRUE(router.ok()) << router.status();
  EXPECT_EQ((*router)->rule().top_k, 3);
  EXPECT_EQ((*router)->rule().weight_mode, WeightMode::kRaw);
  EXPECT_TRUE((*router)->rule().round_probabilities_bf16);
}

TEST_F(RouterTest, UnknownKindIsRefusedByName) {
  Draft draft = LinearDraft(false);
  draft.manifest.kind = "max_score";
  EXPECT_THAT(LoadError(draft, absl::StatusCode::kUnimplemented), AllOf(HasSubstr("max_score"), HasSubstr("--dispatch max-score")));
  draft.manifest.kind = "spectra";
  EXPECT_THAT(LoadError(draft, absl::StatusCode::kUnimplemented),
              AllOf(HasSubstr("spectra"), HasSubstr("dense2moe_mlp"), HasSubstr("linear")));
}

TEST_F(RouterTest, UnknownWeightModeIsRefused) {
  Draft draft = LinearDraft(false);
  draft.manifest.weight_mode = "best";
  EXPECT_THAT(LoadError(draft, absl::StatusCode::kInvalidArgument), HasSubstr("best"));
}

TEST_F(RouterTest, WrongShapesNameTensorExpectedAndFound) {
  Draft draft = MlpDraft();
  draft["layers.1.router.fc2.weight"] = at::randn({kExperts + 1, kInner});
  EXPECT_THAT(LoadError(draft, absl::StatusCode::kInvalidArgument),
              AllOf(HasSubstr("layers.1.router.fc2.weight"), HasSubstr("[5, 19]"), HasSubstr("[6, 19]")));
  draft = MlpDraft();
  draft["layers.0.router.fc1.weight"] = at::randn({kInner, kHidden - 1});
  EXPECT_THAT(LoadError(draft, absl::StatusCode::kInvalidArgument), HasSubstr("[19, 36]"));
  draft = MlpDraft();
  draft["layers.0.router.fc1.weight"] = at::randn({kInner * kHidden});
  EXPECT_THAT(LoadError(draft, absl::StatusCode::kInvalidArgument), HasSubstr("[703]"));
  draft = LinearDraft(false);
  draft["layers.0.router.weight"] = at::zeros({kExperts, kHidden}, at::kInt);
  EXPECT_THAT(LoadError(draft, absl::StatusCode::kInvalidArgument), HasSubstr("I32"));
}

TEST_F(RouterTest, MissingAndSurplusTensorsAreNamed) {
  Draft draft = MlpDraft();
  draft.tensors.erase("layers.1.router.fc1.bias");
  EXPECT_THAT(LoadError(draft, absl::StatusCode::kNotFound), HasSubstr("layers.1.router.fc1.bias"));
  draft = MlpDraft();
  draft["layers.2.router.fc1.bias"] = at::zeros({kInner});
  EXPECT_THAT(LoadError(draft, absl::StatusCode::kInvalidArgument), HasSubstr("layers.2.router.fc1.bias"));
}

TEST_F(RouterTest, GoldenProbesReplay) {
  Draft draft = MlpDraft();
  EXPECT_TRUE(Replay(draft).ok());  // none
  AddProbes(&draft, 6);
  EXPECT_TRUE(Replay(draft).ok()) << Replay(draft);
  const RouterArtifact artifact = draft.Publish();
  for (const Compute* compute : {&reference_, &reference_bf16_, &fast_bf16_}) {
    const auto router = LoadRouter(artifact, *compute);
    ASSERT_TRUE(router.ok());
    const Status status = ReplayGoldenProbes(artifact, **router, *compute);
    EXPECT_TRUE(status.ok()) << status;
  }
}

TEST_F(RouterTest, GoldenProbesMayListEqualSetsInAnotherOrder) {
  Draft draft = MlpDraft();
  AddProbes(&draft, 6);
  for (const std::string part : {"experts", "weights"}) {
    at::Tensor& tensor = draft["probe.layers.1." + part];
    tensor = tensor.flip(1).contiguous();
  }
  EXPECT_TRUE(Replay(draft).ok()) << Replay(draft);
}

TEST_F(RouterTest, ARouterThatNoLongerGivesItsProbesIsRefused) {
  Draft draft = MlpDraft();
  AddProbes(&draft, 6);
  Draft changed = draft;
  changed["layers.1.router.fc2.weight"] = draft["layers.1.router.fc2.weight"].flip(0).contiguous();
  const Status other_router = Replay(changed);
  EXPECT_EQ(other_router.code(), absl::StatusCode::kFailedPrecondition) << other_router;
  EXPECT_THAT(std::string(Message(other_router)), HasSubstr("layer 1"));

  changed = draft;
  changed["probe.layers.0.weights"] = draft["probe.layers.0.weights"] * 0.9;
  EXPECT_EQ(Replay(changed).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(RouterTest, ProbesOfTheWrongShapeAreRefused) {
  Draft draft = MlpDraft();
  AddProbes(&draft, 6);
  draft.manifest.golden_probes = 7;
  EXPECT_EQ(Replay(draft).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace switchyard
