#include "trainer/run/route_manifold.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/trainer/run/run_fixture.h"

namespace switchyard::trainer {
namespace {

// Squared distances .1 and .4, sigma .4: .718594 and .281406.
TEST(RouteManifoldTest, KernelByHand) {
  const std::vector<double> weights = KernelWeights({std::sqrt(.1), std::sqrt(.4)}, .4);
  EXPECT_NEAR(weights[0], .718594, 1e-6);
  EXPECT_NEAR(weights[1], .281406, 1e-6);
}

class RouteManifoldWorldTest : public ::testing::Test {
 protected:
  RouteManifoldWorldTest() {
    router_ = *NewRouter({.roma = 1, .compute = at::kFloat}, world_.base().config.num_layers, world_.base().config.hidden_size, 3, 4);
    model_ = MakeFastModel(world_.compute(), world_.base(), world_.experts(), {});
  }
  StatusOr<RouteManifold> Measure(const ManifoldOptions& options) {
    return RouteManifold::Measure(*model_, *router_, data_, options, /*tokens_per_pass=*/20);
  }
  // Whether an example's answer is right up to `part`, and its probabilities, computed alone.
  bool IsRight(int64_t i, double part) { return static_cast<double>(Hits(i)) >= part * static_cast<double>(Alone(i).correct.size()); }
  int64_t Hits(int64_t i) {
    const EvaluationDetail detail = Alone(i);
    return std::count(detail.correct.begin(), detail.correct.end(), true);
  }
  EvaluationDetail Alone(int64_t i) {
    RoutePlan plan;
    plan.router = router_.get();
    EvaluationDetail detail;
    EXPECT_TRUE(model_->Evaluate(Pack(data_, {i}), plan, &detail).ok());
    return detail;
  }

  World world_{"llama", at::kFloat, false};
  Dataset data_ = TinyData(12, world_.base().config.vocab_size, 5);
  std::unique_ptr<RouterModule> router_;
  std::unique_ptr<TrainableModel> model_;
};

TEST_F(RouteManifoldWorldTest, NeighboursAreTheNearestThatAreAnsweredRight) {
  // The first answer token of every third example becomes what the model says.
  int made = 0;
  for (size_t i = 0; i < data_.examples.size(); i += 3) {
    Example& example = data_.examples[i];
    for (int32_t token = 0; token < world_.base().config.vocab_size; ++token) {
      example.tokens[example.answer_begin] = token;
      if (!Alone(static_cast<int64_t>(i)).correct[0]) continue;
      ++made;
      break;
    }
  }
  ASSERT_EQ(made, 4);
  const ManifoldOptions options{.neighbours = 2, .layers = 2, .right = .5};
  const auto manifold = Measure(options);
  ASSERT_TRUE(manifold.ok()) << manifold.status();
  std::vector<int64_t> right;
  for (int64_t i = 0; i < 12; ++i) {
    if (IsRight(i, .5)) right.push_back(i);
  }
  ASSERT_GE(right.size(), 4u);
  ASSERT_LT(right.size(), 12u);
  EXPECT_EQ(manifold->right(), static_cast<int64_t>(right.size()));

  std::vector<at::Tensor> places;
  for (int64_t i = 0; i < 12; ++i) places.push_back(Alone(i).router_inputs.back().slice(0, 0, data_.examples[i].answer_begin).mean(0));
  const at::Tensor centred = at::stack(places) - at::stack(places).mean(0, true);
  const auto distance = [&](int64_t i, int64_t j) { return 1 - at::cosine_similarity(centred[i], centred[j], 0).item<double>(); };
  for (int64_t i = 0; i < 12; ++i) {
    std::vector<int64_t> nearest;
    std::copy_if(right.begin(), right.end(), std::back_inserter(nearest), [&](int64_t j) { return j != i; });
    std::sort(nearest.begin(), nearest.end(), [&](int64_t a, int64_t b) { return distance(i, a) < distance(i, b); });
    nearest.resize(2);
    EXPECT_EQ(manifold->NeighboursOf(i), nearest) << i;
  }

  // What a batch is told: rows, weights and routes of its examples' neighbours.
  const std::vector<int64_t> some = {7, 3};
  const RouteNeighbours told = manifold->Of(some, Pack(data_, some));
  const int32_t first = static_cast<int32_t>(data_.examples[7].tokens.size()) - 1;
  EXPECT_THAT(told.rows, ::testing::ElementsAre(data_.examples[7].answer_begin - 1, first + data_.examples[3].answer_begin - 1));
  EXPECT_FALSE(told.routes[0].defined());
  for (int64_t i = 0; i < 2; ++i) {
    const std::vector<int64_t>& near = manifold->NeighboursOf(some[i]);
    const std::vector<double> weights = KernelWeights({distance(some[i], near[0]), distance(some[i], near[1])}, options.sigma);
    for (int64_t n = 0; n < 2; ++n) {
      EXPECT_NEAR(told.weights[i][n].item<double>(), weights[n], 1e-4);
      const EvaluationDetail detail = Alone(near[n]);
      const auto out = router_->Forward(2, detail.router_inputs[2].slice(0, data_.examples[near[n]].answer_begin - 1), nullptr);
      ASSERT_TRUE(out.ok());
      EXPECT_TRUE(at::allclose(told.routes[2][i][n], out->probabilities[0], 0, 1e-5)) << i << " " << n;
    }
  }
}

TEST_F(RouteManifoldWorldTest, FewerNeighboursThanAskedForHaveAllTheWeight) {
  for (Example& example : data_.examples) {
    for (int32_t& token : example.tokens) token = 0;
  }
  // One example alone can be right: its answer's first token is found by trial.
  Example& example = data_.examples[4];
  int32_t answer = 0;
  do {
    example.tokens[example.answer_begin] = answer++;
    ASSERT_LT(answer, 72);
  } while (!Alone(4).correct[0]);
  for (size_t i = 0; i < data_.examples.size(); ++i) {
    if (i == 4) continue;
    int32_t wrong = 0;
    Example& other = data_.examples[i];
    do {
      other.tokens[other.answer_begin] = other.tokens[other.answer_begin + 1] = wrong++;
    } while (Hits(static_cast<int64_t>(i)) > 0);
  }
  const auto manifold = Measure({.neighbours = 3, .layers = 1, .right = .5});
  ASSERT_TRUE(manifold.ok()) << manifold.status();
  EXPECT_EQ(manifold->right(), 1);
  EXPECT_THAT(manifold->NeighboursOf(0), ::testing::ElementsAre(4));
  EXPECT_TRUE(manifold->NeighboursOf(4).empty());  // none but itself
  const RouteNeighbours told = manifold->Of({4, 0}, Pack(data_, {4, 0}));
  ASSERT_EQ(told.rows.size(), 1u);
  EXPECT_TRUE(at::allclose(told.weights, at::tensor({1.f, 0.f, 0.f}).view({1, 3})));
}

TEST_F(RouteManifoldWorldTest, NothingRightIsAnErrorThatSaysWhatToDo) {
  for (Example& example : data_.examples) {
    int32_t wrong = 0;
    const auto i = &example - data_.examples.data();
    do {
      example.tokens[example.answer_begin] = example.tokens[example.answer_begin + 1] = wrong++;
    } while (Hits(i) > 0);
  }
  const auto manifold = Measure({});
  EXPECT_EQ(manifold.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(Message(manifold.status())), ::testing::HasSubstr("--init"));
  EXPECT_EQ(Measure({.sigma = 0}).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace switchyard::trainer
