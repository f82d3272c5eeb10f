// What every method must hold, whatever its formula.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/routing/router.h"
#include "tests/routing/method_drafts.h"

namespace switchyard {
namespace {

class MethodPropertiesTest : public ::testing::TestWithParam<std::string> {
 protected:
  MethodPropertiesTest() { at::manual_seed(23); }

  std::unique_ptr<Router> Load(const Draft& draft) {
    auto router = LoadRouter(draft.Publish(), fast_);
    EXPECT_TRUE(router.ok()) << router.status();
    return std::move(router).value();
  }
  // With token ids that follow from the rows: a row that changes is another token's.
  static at::Tensor LogitsOf(const Router& router, int32_t layer, const at::Tensor& x) {
    std::vector<int32_t> tokens;
    for (int64_t row = 0; row < x.size(0); ++row) {
      tokens.push_back(static_cast<int32_t>((std::bit_cast<uint32_t>(x[row][0].item<float>()) >> 8) % kVocabulary));
    }
    return router.Logits(layer, {x, tokens});
  }
  static Status Select(const Router& router, const at::Tensor& logits, const std::vector<bool>& masked, LayerRoutes* routes) {
    routes->Resize(logits.size(0), router.rule().top_k);
    for (int64_t row = 0; row < logits.size(0); ++row) {
      const Status selected = SelectRow({logits.const_data_ptr<float>() + row * kExperts, kExperts}, router.rule(), masked, row, routes,
                                        router.SelectionBias(0), router.SelectionFloor(0));
      if (!selected.ok()) return selected;
    }
    return OkStatus();
  }

  kernels::ThreadPool pool_{2};
  Compute fast_{Backend::kFast, at::kFloat, &pool_};
  Compute reference_{Backend::kReference, at::kFloat, nullptr};
};

TEST_P(MethodPropertiesTest, LogitsHaveOneColumnAnExpert) {
  const auto router = Load(DraftOf(GetParam()));
  EXPECT_EQ(router->num_experts(), kExperts);
  EXPECT_EQ(router->num_layers(), kLayers);
  const at::Tensor logits = LogitsOf(*router, 0, at::randn({7, kHidden}));
  EXPECT_EQ(logits.sizes().vec(), (std::vector<int64_t>{7, kExperts}));
  EXPECT_EQ(logits.scalar_type(), at::kFloat);
  EXPECT_TRUE(logits.is_contiguous());
}

// Bit for bit: also what makes prefill(n) + decode(1) route as prefill(n + 1).
TEST_P(MethodPropertiesTest, RowsDoNotDependOnTheirNeighbours) {
  const auto router = Load(DraftOf(GetParam()));
  const at::Tensor x = at::randn({70, kHidden}), all = LogitsOf(*router, 1, x);
  for (const int64_t rows : {1, 3, 33, 69}) {
    EXPECT_TRUE(at::equal(LogitsOf(*router, 1, x.slice(0, 0, rows)), all.slice(0, 0, rows))) << rows;
    EXPECT_TRUE(at::equal(LogitsOf(*router, 1, x.slice(0, 70 - rows)), all.slice(0, 70 - rows))) << rows;
  }
}

TEST_P(MethodPropertiesTest, ALaterRowNeverChangesAnEarlierRoute) {
  const auto router = Load(DraftOf(GetParam()));
  at::Tensor x = at::randn({12, kHidden});
  const at::Tensor before = LogitsOf(*router, 0, x);
  x.slice(0, 6) += 5;
  const at::Tensor after = LogitsOf(*router, 0, x);
  EXPECT_TRUE(at::equal(before.slice(0, 0, 6), after.slice(0, 0, 6)));
  EXPECT_FALSE(at::equal(before.slice(0, 6), after.slice(0, 6)));
}

TEST_P(MethodPropertiesTest, TheInputStaysAsItWas) {
  const auto router = Load(DraftOf(GetParam()));
  const at::Tensor x = at::randn({5, kHidden}), copy = x.clone();
  LogitsOf(*router, 0, x);
  EXPECT_TRUE(at::equal(x, copy));
}

TEST_P(MethodPropertiesTest, LoadedTwiceRoutesTheSame) {
  const Draft draft = DraftOf(GetParam());
  const at::Tensor x = at::randn({20, kHidden});
  const auto first = Load(draft), second = Load(draft);
  EXPECT_TRUE(at::equal(LogitsOf(*first, 1, x), LogitsOf(*first, 1, x)));
  EXPECT_TRUE(at::equal(LogitsOf(*first, 1, x), LogitsOf(*second, 1, x)));
}

TEST_P(MethodPropertiesTest, FastEqualsReference) {
  const RouterArtifact artifact = DraftOf(GetParam()).Publish();
  const auto fast = LoadRouter(artifact, fast_), reference = LoadRouter(artifact, reference_);
  ASSERT_TRUE(fast.ok() && reference.ok());
  const at::Tensor x = at::randn({20, kHidden});
  EXPECT_TRUE(at::allclose(LogitsOf(**fast, 0, x), LogitsOf(**reference, 0, x), 0, 3e-5));
}

TEST_P(MethodPropertiesTest, NanInTheInputIsRefused) {
  const auto router = Load(DraftOf(GetParam()));
  at::Tensor x = at::randn({3, kHidden});
  x[1][4] = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor logits = LogitsOf(*router, 0, x);
  LayerRoutes routes;
  EXPECT_EQ(Select(*router, logits, {}, &routes).code(), absl::StatusCode::kInternal);
  EXPECT_FALSE(logits[0].isnan().any().item<bool>());
  EXPECT_FALSE(logits[2].isnan().any().item<bool>());
}

TEST_P(MethodPropertiesTest, AMaskedExpertIsNeverChosen) {
  const auto router = Load(DraftOf(GetParam()));
  LayerRoutes free, masked;
  const at::Tensor logits = LogitsOf(*router, 0, at::randn({40, kHidden}));
  ASSERT_TRUE(Select(*router, logits, {}, &free).ok());
  const int16_t favourite = free.experts[0];
  std::vector<bool> mask(kExperts);
  mask[favourite] = true;
  ASSERT_TRUE(Select(*router, logits, mask, &masked).ok());
  EXPECT_EQ(std::count(masked.experts.begin(), masked.experts.end(), favourite), 0);
}

INSTANTIATE_TEST_SUITE_P(AllKinds, MethodPropertiesTest,
                         ::testing::Values("aoe", "arrow", "dense2moe_mlp", "ermoe", "expert_choice", "gmm", "hash", "linear",
                                           "linear_loss_free", "lpr", "phatgoose", "stablemoe"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace switchyard
