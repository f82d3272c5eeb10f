// Directions against the singular value decomposition of the delta itself, and by hand.
#include "engine/routing/gate_directions.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace switchyard {
namespace {

constexpr int64_t kIn = 23, kOut = 31, kRank = 5;

class GateDirectionsTest : public ::testing::Test {
 protected:
  GateDirectionsTest() {
    at::manual_seed(3);
    gate_ = {at::randn({kRank, kIn}), at::randn({kOut, kRank}), 1.75};
  }
  at::Tensor Delta() const { return gate_.scale * at::matmul(gate_.b.to(at::kDouble), gate_.a.to(at::kDouble)); }
  at::Tensor Of(DirectionRule rule) const { return DirectionsOf(rule, gate_, kIn).to(at::kDouble); }

  GateMatrices gate_;
};

double Largest(const at::Tensor& difference) { return difference.abs().max().item<double>(); }

TEST_F(GateDirectionsTest, TopDirectionIsTheFirstRightSingularVectorButForItsSign) {
  const at::Tensor v = std::get<2>(at::linalg_svd(Delta(), /*full_matrices=*/false))[0];
  const at::Tensor mine = Of(DirectionRule::kTopDirection);
  ASSERT_EQ(mine.sizes().vec(), (std::vector<int64_t>{1, kIn}));
  EXPECT_NEAR(at::dot(mine[0], v).abs().item<double>(), 1, 1e-6);
  EXPECT_NEAR(mine[0].norm().item<double>(), 1, 1e-6);
}

TEST_F(GateDirectionsTest, NormBaMeasuresTheDeltaItself) {
  const at::Tensor m = Of(DirectionRule::kNormBa), x = at::randn({40, kIn}, at::kDouble);
  ASSERT_EQ(m.size(0), kRank);
  EXPECT_LT(Largest(at::matmul(x, m.t()).norm(2, 1) - at::matmul(x, Delta().t()).norm(2, 1)), 1e-4);
}

TEST_F(GateDirectionsTest, NormBaIsTheSameWhenAGrowsByWhatBShrinks) {
  const at::Tensor x = at::randn({9, kIn}, at::kDouble), before = at::matmul(x, Of(DirectionRule::kNormBa).t()).norm(2, 1);
  gate_.a = gate_.a * 8;
  gate_.b = gate_.b / 8;
  EXPECT_LT(Largest(at::matmul(x, Of(DirectionRule::kNormBa).t()).norm(2, 1) - before), 1e-4);
  EXPECT_GT(Largest(at::matmul(x, Of(DirectionRule::kNormA).t()).norm(2, 1) - before), 1);
}

TEST_F(GateDirectionsTest, NormAIsAWithoutTheScale) { EXPECT_EQ(Largest(Of(DirectionRule::kNormA) - gate_.a), 0); }

TEST_F(GateDirectionsTest, RowSpaceIsAnOrthonormalBasisOfTheDeltasInputs) {
  const at::Tensor basis = Of(DirectionRule::kRowSpace);
  ASSERT_EQ(basis.size(0), kRank);
  EXPECT_LT(Largest(at::matmul(basis, basis.t()) - at::eye(kRank, at::kDouble)), 1e-6);
  const at::Tensor v = std::get<2>(at::linalg_svd(Delta(), false)).slice(0, 0, kRank);
  EXPECT_LT(Largest(at::matmul(basis.t(), basis) - at::matmul(v.t(), v)), 1e-5);
}

TEST_F(GateDirectionsTest, ALowerRankThanTheMatricesHasFewerDirections) {
  gate_.b.select(1, 3).zero_();
  gate_.a[4] = gate_.a[0] * 2;
  EXPECT_EQ(Of(DirectionRule::kRowSpace).size(0), kRank - 2);
}

TEST_F(GateDirectionsTest, NoDeltaScoresNothing) {
  gate_.b.zero_();
  for (const DirectionRule rule : {DirectionRule::kTopDirection, DirectionRule::kNormBa, DirectionRule::kRowSpace}) {
    EXPECT_EQ(Largest(Of(rule)), 0) << DirectionRuleName(rule);
  }
  gate_ = {};
  for (const DirectionRule rule : {DirectionRule::kTopDirection, DirectionRule::kNormA, DirectionRule::kNormBa, DirectionRule::kRowSpace}) {
    EXPECT_EQ(Of(rule).sizes().vec(), (std::vector<int64_t>{1, kIn})) << DirectionRuleName(rule);
    EXPECT_EQ(Largest(Of(rule)), 0) << DirectionRuleName(rule);
  }
}

// A = [[1, 0], [0, 2]], B = diag(2, 1), s = 1: D = 2 I, and |D (3, 1)| = 6.324555.
TEST_F(GateDirectionsTest, ByHand) {
  gate_ = {at::tensor({1.f, 0.f, 0.f, 2.f}).view({2, 2}), at::tensor({2.f, 0.f, 0.f, 1.f}).view({2, 2}), 1};
  const at::Tensor x = at::tensor({3., 1.}, at::kDouble);
  EXPECT_NEAR(at::mv(DirectionsOf(DirectionRule::kNormBa, gate_, 2).to(at::kDouble), x).norm().item<double>(), 6.324555, 1e-5);
  EXPECT_NEAR(at::mv(DirectionsOf(DirectionRule::kNormA, gate_, 2).to(at::kDouble), x).norm().item<double>(), 3.605551, 1e-5);
}

// Lengths of (3, 4) and (0, 5) under the identity: 5 and 5; of (6, 8): 10. Mean 20 / 3.
TEST_F(GateDirectionsTest, CalibratedDirectionsHaveMeanLengthOneOverTheirSample) {
  const at::Tensor identity = at::eye(2), sample = at::tensor({3.f, 4.f, 0.f, 5.f, 6.f, 8.f}).view({3, 2});
  EXPECT_NEAR(MeanLength(identity, sample), 20.0 / 3, 1e-12);
  EXPECT_NEAR(MeanLength(Calibrated(identity, 1, sample), sample), 1, 1e-6);
  EXPECT_NEAR(MeanLength(Calibrated(identity, 4, sample), sample), .25, 1e-6);
  EXPECT_LT(Largest(Calibrated(identity, 4, {}) - identity / 4), 1e-7);
  EXPECT_EQ(Largest(Calibrated(at::zeros({1, 2}), 1, sample)), 0);  // a mean length of 0 divides by nothing
}

TEST_F(GateDirectionsTest, NamesAreReadBack) {
  for (const DirectionRule rule :
       {DirectionRule::kNone, DirectionRule::kTopDirection, DirectionRule::kNormA, DirectionRule::kNormBa, DirectionRule::kRowSpace}) {
    const auto parsed = ParseDirectionRule(DirectionRuleName(rule));
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(*parsed, rule);
  }
  EXPECT_THAT(std::string(Message(ParseDirectionRule("norm_c").status())), ::testing::HasSubstr("\"norm_ba\""));
}

}  // namespace
}  // namespace switchyard
