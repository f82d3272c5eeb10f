// Each separable method against its formula, in double, and against numbers worked out by hand.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "engine/routing/router.h"
#include "tests/routing/method_drafts.h"

namespace switchyard {
namespace {

using ::testing::HasSubstr;

at::Tensor Of(Draft& draft, int layer, const std::string& name) {
  return draft[absl::StrFormat("layers.%d.router.%s", layer, name)].to(at::kDouble);
}

// [T, E] of |M_e x|, the zero expert's constant last.
at::Tensor NormOracle(Draft& draft, int layer, const at::Tensor& x) {
  std::vector<at::Tensor> columns;
  for (int e = 0; e + 1 < kExperts; ++e) {
    const at::Tensor projected = at::matmul(x.to(at::kDouble), Of(draft, layer, absl::StrFormat("directions.%d", e)).t());
    columns.push_back(projected.square().sum(1).sqrt());
  }
  columns.push_back(Of(draft, layer, "zero_score").expand({x.size(0)}));
  return at::stack(columns, 1);
}

class MethodFormulaTest : public ::testing::Test {
 protected:
  MethodFormulaTest() { at::manual_seed(17); }
  void ExpectLogits(Draft& draft, int layer, const at::Tensor& x, const at::Tensor& want) {
    for (const Compute* compute : {&reference_, &fast_}) {
      const auto router = LoadRouter(draft.Publish(), *compute);
      ASSERT_TRUE(router.ok()) << router.status();
      EXPECT_GT((*router)->bytes(), 0);
      EXPECT_LT(((*router)->Logits(layer, x).to(at::kDouble) - want).abs().max().item<double>(), 2e-5);
    }
  }
  Status LoadStatus(const Draft& draft) { return LoadRouter(draft.Publish(), fast_).status(); }

  kernels::ThreadPool pool_{2};
  Compute reference_{Backend::kReference, at::kFloat, nullptr};
  Compute fast_{Backend::kFast, at::kFloat, &pool_};
};

TEST_F(MethodFormulaTest, ArrowIsTheAbsoluteProduct) {
  Draft draft = DraftOf("arrow");
  const at::Tensor x = at::randn({9, kHidden});
  ExpectLogits(draft, 1, x, NormOracle(draft, 1, x));
  ExpectLogits(draft, 1, -x, NormOracle(draft, 1, x));  // the sign of a singular vector means nothing
}

TEST_F(MethodFormulaTest, AutonomyOfExpertsIsTheLength) {
  Draft draft = DraftOf("aoe");
  const at::Tensor x = at::randn({9, kHidden});
  ExpectLogits(draft, 0, x, NormOracle(draft, 0, x));
}

// A = [[1, 0], [0, 2]], x = (3, 1): z = (3, 2); B = I gives 3.605551, B = diag(2, 1) gives 6.324555.
TEST_F(MethodFormulaTest, AutonomyOfExpertsGoldenVector) {
  Draft draft("aoe", 1);
  draft.manifest.num_layers = 1;
  draft.manifest.hidden_size = 2;
  draft.manifest.experts.resize(2);
  draft["layers.0.router.directions.0"] = at::tensor({1.f, 0.f, 0.f, 2.f}).view({2, 2});
  draft["layers.0.router.directions.1"] = at::tensor({2.f, 0.f, 0.f, 2.f}).view({2, 2});
  ExpectLogits(draft, 0, at::tensor({3.f, 1.f}).view({1, 2}), at::tensor({3.605551, 6.324555}, at::kDouble).view({1, 2}));
}

TEST_F(MethodFormulaTest, ErmoeWeightsAreNormalisedShares) {
  Draft draft = DraftOf("ermoe");
  const at::Tensor x = at::randn({9, kHidden});
  at::Tensor share = NormOracle(draft, 0, x);
  for (int e = 0; e + 1 < kExperts; ++e) share.select(1, e) /= x.to(at::kDouble).square().sum(1).sqrt();
  EXPECT_LE(share.max().item<double>(), 1 + 1e-6);  // orthonormal rows
  ExpectLogits(draft, 0, x, share.log());

  const auto router = LoadRouter(draft.Publish(), fast_);
  ASSERT_TRUE(router.ok());
  const at::Tensor logits = (*router)->Logits(0, x);
  LayerRoutes routes;
  routes.Resize(1, 2);
  ASSERT_TRUE(SelectRow({logits.const_data_ptr<float>(), kExperts}, (*router)->rule(), {}, 0, &routes).ok());
  const double first = share[0][routes.experts[0]].item<double>(), second = share[0][routes.experts[1]].item<double>();
  EXPECT_GE(first, second);
  EXPECT_NEAR(routes.weights[0], first / (first + second), 1e-5);
}

TEST_F(MethodFormulaTest, ErmoeLeavesARowOfZerosToZero) {
  Draft draft = DraftOf("ermoe");
  const auto router = LoadRouter(draft.Publish(), fast_);
  ASSERT_TRUE(router.ok());
  const at::Tensor logits = (*router)->Logits(0, at::zeros({1, kHidden}));
  EXPECT_TRUE(logits.isfinite().all().item<bool>());
  EXPECT_EQ(logits.argmax(1).item<int64_t>(), kExperts - 1);
}

TEST_F(MethodFormulaTest, PhatgooseStandardisesGateAndInput) {
  Draft draft = DraftOf("phatgoose");
  const at::Tensor x = at::randn({9, kHidden}) * 3 + 1;
  const auto standardised = [](const at::Tensor& rows) {
    const at::Tensor centred = rows - rows.mean(-1, true);
    return centred / centred.square().mean(-1, true).sqrt();
  };
  std::vector<at::Tensor> gates;
  for (int e = 0; e + 1 < kExperts; ++e) gates.push_back(Of(draft, 1, absl::StrFormat("gate.%d", e)));
  const at::Tensor scores = at::matmul(standardised(x.to(at::kDouble)), standardised(at::stack(gates)).t()) / std::sqrt(double{kHidden});
  ExpectLogits(draft, 1, x, at::cat({scores, Of(draft, 1, "zero_score").expand({9, 1})}, 1));
}

TEST_F(MethodFormulaTest, GmmIsTheLogDensityOfItsMixture) {
  Draft draft = DraftOf("gmm");
  const at::Tensor x = at::randn({9, kHidden}) * .5;
  const at::Tensor z = at::matmul(x.to(at::kDouble) - Of(draft, 1, "center"), Of(draft, 1, "projection").t()).unsqueeze(1);  // [9, 1, 6]
  std::vector<at::Tensor> columns;
  for (int e = 0; e + 1 < kExperts; ++e) {
    const at::Tensor precision = Of(draft, 1, absl::StrFormat("precision.%d", e)), mean = Of(draft, 1, absl::StrFormat("mean.%d", e));
    const at::Tensor normal = ((precision / (2 * M_PI)).sqrt() * (-.5 * precision * (z - mean).square()).exp()).prod(-1);  // [9, K]
    columns.push_back((Of(draft, 1, absl::StrFormat("log_weight.%d", e)).exp() * normal).sum(1).log());
  }
  columns.push_back(Of(draft, 1, "zero_score").expand({9}));
  ExpectLogits(draft, 1, x, at::stack(columns, 1));
}

// N(0; 0, 1) = 0.398942 and N(0; 1, 4) = 0.199471 exp(-1/8) = 0.176033: posterior 0.693848.
TEST_F(MethodFormulaTest, GmmByHand) {
  Draft draft("gmm", 1);
  draft.manifest.num_layers = 1;
  draft.manifest.hidden_size = 1;
  draft.manifest.experts.resize(2);
  const std::string prefix = "layers.0.router.";
  draft[prefix + "center"] = at::full({1}, 3.f);
  draft[prefix + "projection"] = at::ones({1, 1});
  for (int e = 0; e < 2; ++e) {
    draft[absl::StrFormat("%slog_weight.%d", prefix, e)] = at::zeros({1});
    draft[absl::StrFormat("%smean.%d", prefix, e)] = at::full({1, 1}, static_cast<float>(e));
    draft[absl::StrFormat("%sprecision.%d", prefix, e)] = at::full({1, 1}, e == 0 ? 1.f : .25f);
  }
  ExpectLogits(draft, 0, at::full({1, 1}, 3.f), at::tensor({std::log(.398942), std::log(.176033)}, at::kDouble).view({1, 2}));
}

// Far from every mixture: a very low density, no infinity, and zero answers.
TEST_F(MethodFormulaTest, GmmLeavesWhatIsUnlikeAllToZero) {
  const auto router = LoadRouter(DraftOf("gmm").Publish(), fast_);
  ASSERT_TRUE(router.ok());
  const at::Tensor logits = (*router)->Logits(0, at::full({1, kHidden}, 1e4f));
  EXPECT_TRUE(logits.isfinite().all().item<bool>());
  EXPECT_EQ(logits.argmax(1).item<int64_t>(), kExperts - 1);
}

TEST_F(MethodFormulaTest, GmmWithoutVarianceIsRefused) {
  Draft draft = DraftOf("gmm");
  draft["layers.1.router.precision.2"][0][3] = 0.f;
  EXPECT_THAT(std::string(Message(LoadStatus(draft))), HasSubstr("layers.1.router.precision.2: expected values above 0"));
  Draft uneven = DraftOf("gmm");
  uneven["layers.0.router.mean.3"] = at::zeros({2, 6});
  EXPECT_EQ(LoadStatus(uneven).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(MethodFormulaTest, WhatDoesNotFitIsRefused) {
  Draft wide = DraftOf("aoe");
  wide.manifest.kind = "arrow";  // ranks above 1
  EXPECT_EQ(LoadStatus(wide).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(Message(LoadStatus(wide))), HasSubstr("at most 1 rows, found 2"));

  for (const std::string kind : {"aoe", "arrow", "ermoe", "phatgoose"}) {
    Draft silent = DraftOf(kind);
    silent.tensors.erase("layers.1.router.zero_score");
    EXPECT_EQ(LoadStatus(silent).code(), absl::StatusCode::kNotFound) << kind;
    EXPECT_THAT(std::string(Message(LoadStatus(silent))), HasSubstr("layers.1.router.zero_score"));
    Draft narrow = DraftOf(kind);
    const std::string first = kind == "phatgoose" ? "layers.0.router.gate.0" : "layers.0.router.directions.0";
    narrow[first] = narrow[first].slice(-1, 1).contiguous();
    EXPECT_EQ(LoadStatus(narrow).code(), absl::StatusCode::kInvalidArgument) << kind;
    Draft foreign = DraftOf(kind);
    foreign["layers.0.router.weight"] = at::zeros({kExperts, kHidden});
    EXPECT_THAT(std::string(Message(LoadStatus(foreign))), HasSubstr("no part of a router of kind")) << kind;
  }
}

TEST_F(MethodFormulaTest, OnlyZeroExpertsAreNoChoice) {
  for (const std::string kind : {"aoe", "gmm"}) {
    Draft draft = WithZero(kind);
    for (size_t e = 0; e < draft.manifest.experts.size(); ++e) draft.manifest.experts[e].is_zero = true;
    EXPECT_EQ(LoadStatus(draft).code(), absl::StatusCode::kInvalidArgument) << kind;
  }
}

TEST_F(MethodFormulaTest, HashLooksTokensUp) {
  Draft draft = HashDraft();
  draft["layers.1.router.table"] = at::tensor({3, 0, 4}, at::kInt).repeat({17}).slice(0, 0, kVocabulary).contiguous();
  const auto router = LoadRouter(draft.Publish(), fast_);
  ASSERT_TRUE(router.ok()) << router.status();
  EXPECT_EQ((*router)->vocabulary(), kVocabulary);
  const std::vector<int32_t> tokens = {2, 0, 49, 1};
  const at::Tensor logits = (*router)->Logits(1, {at::randn({4, kHidden}), tokens});
  EXPECT_TRUE(at::equal(logits.argmax(1), at::tensor({4, 3, 0, 0}, at::kLong))) << logits;
  EXPECT_TRUE(at::equal(logits.exp().sum(1), at::ones({4})));
}

TEST_F(MethodFormulaTest, HashRefusesIdsItHasNoRouteFor) {
  const auto router = LoadRouter(HashDraft().Publish(), fast_);
  ASSERT_TRUE(router.ok());
  const std::vector<int32_t> tokens = {3, kVocabulary, -1};
  const at::Tensor logits = (*router)->Logits(0, {at::randn({4, kHidden}), tokens});
  for (const int row : {1, 2, 3}) EXPECT_TRUE(logits[row].isnan().any().item<bool>()) << row;
  EXPECT_FALSE(logits[0].isnan().any().item<bool>());
}

TEST_F(MethodFormulaTest, HashTablesAreChecked) {
  const auto code = [&](const Draft& draft) { return LoadRouter(draft.Publish(), fast_).status().code(); };
  Draft beyond = HashDraft(), uneven = HashDraft(), real = HashDraft(), two = HashDraft(), missing = HashDraft();
  beyond["layers.1.router.table"][7] = kExperts;
  EXPECT_EQ(code(beyond), absl::StatusCode::kInvalidArgument);
  beyond["layers.1.router.table"][7] = -1;
  EXPECT_EQ(code(beyond), absl::StatusCode::kInvalidArgument);
  uneven["layers.1.router.table"] = at::zeros({kVocabulary + 1}, at::kInt);
  EXPECT_EQ(code(uneven), absl::StatusCode::kInvalidArgument);
  real["layers.0.router.table"] = at::zeros({kVocabulary});
  EXPECT_EQ(code(real), absl::StatusCode::kInvalidArgument);
  two.manifest.top_k = 2;
  EXPECT_EQ(code(two), absl::StatusCode::kInvalidArgument);
  missing.tensors.erase("layers.1.router.table");
  EXPECT_EQ(code(missing), absl::StatusCode::kNotFound);
}

// Each expert takes what reaches its threshold, zero never; a token may get none.
TEST_F(MethodFormulaTest, ExpertChoiceChoosesByThresholds) {
  Draft draft = ExpertChoiceDraft();
  draft.manifest.experts.back() = {"zero", "zero", true};
  draft["layers.0.router.weight"] = at::eye(kExperts, kHidden);
  draft["layers.0.router.threshold"] = at::tensor({.3f, .3f, .1f, .3f, 0.f});
  const auto router = LoadRouter(draft.Publish(), fast_);
  ASSERT_TRUE(router.ok()) << router.status();
  const at::Tensor p = at::tensor({.31f, .08f, .12f, .35f, .14f,  // three reach theirs: the best two
                                   .29f, .29f, .15f, .02f, .25f,  // the one with the low threshold
                                   .05f, .05f, .05f, .05f, .8f})  // none, and zero is no choice
                           .view({3, kExperts});
  const at::Tensor logits = (*router)->Logits(0, at::constant_pad_nd(p.log(), {0, kHidden - kExperts}));
  LayerRoutes routes;
  routes.Resize(3, 2);
  for (int64_t row = 0; row < 3; ++row) {
    ASSERT_TRUE(SelectRow({logits.const_data_ptr<float>() + row * kExperts, kExperts}, (*router)->rule(), {}, row, &routes, {},
                          (*router)->SelectionFloor(0))
                    .ok());
  }
  EXPECT_THAT(routes.experts, ::testing::ElementsAre(3, 0, 2, -1, -1, -1));
  EXPECT_NEAR(routes.weights[0], .35, 1e-5);
  EXPECT_NEAR(routes.weights[1], .31, 1e-5);
  EXPECT_NEAR(routes.weights[2], .15, 1e-5);
  EXPECT_NEAR(routes.margin[0], .01, 1e-5);  // the second one's threshold is nearest
  EXPECT_NEAR(routes.margin[1], .01, 1e-5);
  EXPECT_FALSE(std::isnan(routes.entropy[2]));
}

TEST_F(MethodFormulaTest, ExactExpertChoiceIsRefusedByName) {
  Draft draft = ExpertChoiceDraft();
  draft.tensors.erase("layers.1.router.threshold");
  const Status refused = LoadRouter(draft.Publish(), fast_).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(Message(refused)), ::testing::AllOf(::testing::HasSubstr("layer 1"), ::testing::HasSubstr("Expert Choice"),
                                                              ::testing::HasSubstr("--kind expert_choice")));
}

TEST_F(MethodFormulaTest, StableMoeSpeaksAsStronglyAsTheTokenFitsItsExpert) {
  Draft draft = StableMoeDraft();
  draft["layers.0.router.table"] = at::tensor({1, 3}, at::kInt).repeat({kVocabulary / 2});
  draft["layers.0.router.weight"] = at::eye(kExperts, kHidden);
  const auto router = LoadRouter(draft.Publish(), fast_);
  ASSERT_TRUE(router.ok()) << router.status();
  const std::vector<int32_t> tokens = {0, 7, 2};
  at::Tensor x = at::zeros({3, kHidden});
  x[0][1] = 2;   // token 0 goes to expert 1
  x[1][1] = 9;   // token 7 to expert 3, however well it would fit expert 1
  x[2][1] = -1;  // token 2 to expert 1
  const at::Tensor logits = (*router)->Logits(0, {x, tokens});
  LayerRoutes routes;
  routes.Resize(3, 1);
  for (int64_t row = 0; row < 3; ++row) {
    ASSERT_TRUE(SelectRow({logits.const_data_ptr<float>() + row * kExperts, kExperts}, (*router)->rule(), {}, row, &routes).ok());
  }
  EXPECT_THAT(routes.experts, ::testing::ElementsAre(1, 3, 1));
  EXPECT_NEAR(routes.weights[0], .880797, 1e-5);
  EXPECT_NEAR(routes.weights[1], .5, 1e-5);
  EXPECT_NEAR(routes.weights[2], .268941, 1e-5);
}

TEST_F(MethodFormulaTest, LprIsTheCosineOfLatentAndKey) {
  Draft draft = LprDraft();
  const at::Tensor x = at::randn({9, kHidden}) * 3 + 1;
  const at::Tensor normed = at::layer_norm(x.to(at::kDouble), {kHidden}, Of(draft, 1, "norm.weight"), Of(draft, 1, "norm.bias"));
  const at::Tensor z = at::linear(at::silu(normed), Of(draft, 1, "mean.weight"), Of(draft, 1, "mean.bias"));
  ExpectLogits(draft, 1, x, at::cosine_similarity(z.unsqueeze(1), Of(draft, 1, "keys").unsqueeze(0), -1));
}

// The latent is (3, 4) whatever x is: a key's length means nothing, and one without length fits nothing.
TEST_F(MethodFormulaTest, LprByHand) {
  Draft draft = LprDraft();
  draft["layers.0.router.mean.weight"] = at::zeros({2, kHidden});
  draft["layers.0.router.mean.bias"] = at::tensor({3.f, 4.f});
  draft["layers.0.router.log_variance.weight"] = at::zeros({2, kHidden});
  draft["layers.0.router.log_variance.bias"] = at::zeros({2});
  draft["layers.0.router.keys"] = at::tensor({7.f, 0.f, 0.f, .5f, -3.f, -4.f, 4.f, -3.f, 0.f, 0.f}).view({kExperts, 2});
  ExpectLogits(draft, 0, at::randn({1, kHidden}), at::tensor({.6, .8, -1., 0., 0.}, at::kDouble).view({1, kExperts}));
}

TEST_F(MethodFormulaTest, LprsTensorsMustFitEachOther) {
  Draft keys = LprDraft(), missing = LprDraft(), variance = LprDraft();
  keys["layers.1.router.keys"] = at::randn({kExperts, 5});
  EXPECT_THAT(std::string(Message(LoadStatus(keys))), HasSubstr("layers.1.router.keys"));
  missing.tensors.erase("layers.0.router.norm.bias");
  EXPECT_EQ(LoadStatus(missing).code(), absl::StatusCode::kNotFound);
  variance["layers.0.router.log_variance.bias"] = at::zeros({5});
  EXPECT_EQ(LoadStatus(variance).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(MethodFormulaTest, StableMoesRuleIsChecked) {
  const auto code = [&](const Draft& draft) { return LoadRouter(draft.Publish(), fast_).status().code(); };
  Draft mode = StableMoeDraft(), two = StableMoeDraft(), missing = StableMoeDraft();
  mode.manifest.weight_mode = "renorm";
  EXPECT_EQ(code(mode), absl::StatusCode::kInvalidArgument);
  two.manifest.top_k = 2;
  EXPECT_EQ(code(two), absl::StatusCode::kInvalidArgument);
  missing.tensors.erase("layers.1.router.table");
  EXPECT_EQ(code(missing), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace switchyard
