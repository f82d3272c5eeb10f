// A router that meets an expert it was not made with scores it as one made with it does.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "engine/routing/router.h"
#include "tests/routing/method_drafts.h"

namespace switchyard {
namespace {

using ::testing::HasSubstr;

struct Kind {
  std::string kind, derive;
  bool calibrated;
};

class DeriveTest : public ::testing::TestWithParam<Kind> {
 protected:
  DeriveTest() {
    at::manual_seed(29);
    for (int e = 0; e < kExperts; ++e) {
      gates_.emplace_back();
      for (int l = 0; l < kLayers; ++l)
        gates_.back().layers.push_back({at::randn({2 + e % 2, kHidden}), at::randn({19, 2 + e % 2}), .5 + e});
    }
    gates_.back().layers[0] = {};  // the newcomer leaves the first layer alone
    sample_ = at::randn({12, kHidden});
  }

  // The first `experts` of gates_, and zero among them at index 1.
  Draft Made(int experts) const {
    const Kind& kind = GetParam();
    Draft draft(kind.kind, 2);
    draft.manifest.separable = true;
    draft.manifest.derive = kind.derive;
    draft.manifest.experts.clear();
    const DirectionRule rule = *ParseDirectionRule(kind.derive);
    for (int l = 0; l < kLayers; ++l) {
      const std::string prefix = absl::StrFormat("layers.%d.router.", l);
      draft[prefix + "zero_score"] = at::full({1}, .4f);
      if (kind.calibrated) draft[prefix + "sample"] = sample_;
      if (kind.kind == "arrow") draft[prefix + "temperature"] = at::full({1}, 2.f);
    }
    for (int e = 0; e < experts; ++e) {
      draft.manifest.experts.push_back({absl::StrFormat("e%d", e), absl::StrFormat("hash%d", e), false});
      if (e == 0) draft.manifest.experts.push_back({"zero", "zero", true});
      for (int l = 0; l < kLayers; ++l) {
        const at::Tensor own = DirectionsOf(rule, gates_[e].layers[l], kHidden);
        draft[absl::StrFormat("layers.%d.router.directions.%d", l, e == 0 ? 0 : e + 1)] =
            Calibrated(own, kind.kind == "arrow" ? 2 : 1, kind.calibrated ? sample_ : at::Tensor());
      }
    }
    return draft;
  }
  std::shared_ptr<const Router> Load(const Draft& draft) {
    auto router = LoadRouter(draft.Publish(), fast_);
    EXPECT_TRUE(router.ok()) << router.status();
    return std::move(router).value();
  }

  std::vector<ExpertGates> gates_;
  at::Tensor sample_;
  kernels::ThreadPool pool_{2};
  Compute fast_{Backend::kFast, at::kFloat, &pool_};
};

TEST_P(DeriveTest, ANewcomerIsScoredAsOneTheRouterWasMadeWith) {
  const auto before = Load(Made(kExperts - 2)), with = Load(Made(kExperts));
  ASSERT_TRUE(before->derives());
  const auto grown = WithExperts(before, {gates_[kExperts - 2], gates_[kExperts - 1]});
  ASSERT_TRUE(grown.ok()) << grown.status();
  EXPECT_EQ((*grown)->num_experts(), with->num_experts());
  EXPECT_GT((*grown)->bytes(), before->bytes());
  const at::Tensor x = at::randn({15, kHidden}) * 2;
  for (int l = 0; l < kLayers; ++l) {
    const at::Tensor logits = (*grown)->Logits(l, x);
    EXPECT_TRUE(logits.is_contiguous());
    EXPECT_LT((logits - with->Logits(l, x)).abs().max().item<float>(), 1e-5);
    // Those it was made with keep their scores, bit for bit.
    EXPECT_TRUE(at::equal(logits.slice(1, 0, before->num_experts()), before->Logits(l, x)));
  }
}

TEST_P(DeriveTest, RowsStayIndependent) {
  const auto grown = WithExperts(Load(Made(kExperts - 1)), {gates_[kExperts - 1]});
  ASSERT_TRUE(grown.ok());
  const at::Tensor x = at::randn({33, kHidden});
  EXPECT_TRUE(at::equal((*grown)->Logits(1, x).slice(0, 7, 9), (*grown)->Logits(1, x.slice(0, 7, 9))));
}

TEST_P(DeriveTest, AnArtifactThatSaysNothingScoresItsOwnOnly) {
  Draft draft = Made(kExperts);
  draft.manifest.derive.clear();
  for (int l = 0; l < kLayers; ++l) {
    draft.tensors.erase(absl::StrFormat("layers.%d.router.sample", l));
    draft.tensors.erase(absl::StrFormat("layers.%d.router.temperature", l));
  }
  const auto router = Load(draft);
  EXPECT_FALSE(router->derives());
  EXPECT_EQ(WithExperts(router, {gates_[0]}).status().code(), absl::StatusCode::kUnimplemented);
}

TEST_P(DeriveTest, WhatDoesNotFitIsRefused) {
  Draft foreign = Made(kExperts);
  foreign.manifest.derive = GetParam().kind == "aoe" ? "row_space" : "norm_ba";
  EXPECT_THAT(std::string(Message(LoadRouter(foreign.Publish(), fast_).status())), HasSubstr("is no rule of router kind"));
  Draft unknown = Made(kExperts);
  unknown.manifest.derive = "norm_c";
  EXPECT_EQ(LoadRouter(unknown.Publish(), fast_).status().code(), absl::StatusCode::kInvalidArgument);
  Draft cold = Made(kExperts);
  cold["layers.1.router.temperature"] = at::zeros({1});
  EXPECT_THAT(std::string(Message(LoadRouter(cold.Publish(), fast_).status())), HasSubstr("expected a value above 0"));
  Draft narrow = Made(kExperts);
  narrow["layers.0.router.sample"] = at::ones({4, kHidden - 1});
  EXPECT_EQ(LoadRouter(narrow.Publish(), fast_).status().code(), absl::StatusCode::kInvalidArgument);
  ExpertGates short_one = gates_[0];
  short_one.layers.pop_back();
  EXPECT_EQ(WithExperts(Load(Made(kExperts)), {short_one}).status().code(), absl::StatusCode::kInternal);
}

INSTANTIATE_TEST_SUITE_P(Kinds, DeriveTest,
                         ::testing::Values(Kind{"arrow", "top_direction", false}, Kind{"aoe", "norm_a", false},
                                           Kind{"aoe", "norm_ba", false}, Kind{"aoe", "norm_ba", true}, Kind{"ermoe", "row_space", false}),
                         [](const auto& info) {
                           return info.param.kind + "_" + info.param.derive + (info.param.calibrated ? "_calibrated" : "");
                         });

TEST(DeriveOtherKinds, ScoreWhatTheyWereMadeWith) {
  at::manual_seed(31);
  const Compute plain{};
  for (const char* kind : {"linear", "dense2moe_mlp", "phatgoose"}) {
    auto router = LoadRouter(DraftOf(kind).Publish(), plain);
    ASSERT_TRUE(router.ok());
    EXPECT_FALSE((*router)->derives()) << kind;
    EXPECT_EQ((*router)->Derive({}).status().code(), absl::StatusCode::kUnimplemented) << kind;
  }
}

}  // namespace
}  // namespace switchyard
