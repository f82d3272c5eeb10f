#include "trainer/nn/dispatch.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "trainer/nn/router_module.h"

namespace switchyard::trainer {
namespace {

constexpr int16_t kDropped = LayerRoutes::kUnused;

LayerRoutes Routes(int64_t rows, int32_t k, std::vector<int16_t> experts) {
  LayerRoutes routes;
  routes.Resize(rows, k);
  routes.experts = std::move(experts);
  return routes;
}

// [rows, experts], rows sum to 1.
std::vector<float> Probabilities(int64_t rows, int32_t experts, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> p;
  for (int64_t row = 0; row < rows; ++row) {
    float sum = 0;
    for (int32_t e = 0; e < experts; ++e) sum += p.emplace_back(std::exponential_distribution<float>()(random));
    for (auto value = p.end() - experts; value != p.end(); ++value) *value /= sum;
  }
  return p;
}

// Capacity 2: the third and the fourth row that want expert 0 are dropped.
TEST(DispatchTest, CapacityDropsWhatComesLater) {
  LayerRoutes routes = Routes(8, 1, {0, 0, 0, 1, 1, 2, 3, 0});
  Dispatch({.rule = "capacity", .capacity_factor = 1}, std::vector<float>(32), 4, &routes);
  EXPECT_THAT(routes.experts, ::testing::ElementsAre(0, 0, kDropped, 1, 1, 2, 3, kDropped));
}

TEST(DispatchTest, FirstChoicesGoBeforeSecondOnes) {
  LayerRoutes routes = Routes(3, 2, {1, 0, 2, 0, 0, 1});  // capacity 2
  Dispatch({.rule = "capacity", .capacity_factor = 1}, std::vector<float>(9), 3, &routes);
  EXPECT_THAT(routes.experts, ::testing::ElementsAre(1, 0, 2, kDropped, 0, 1));
}

TEST(DispatchTest, MaxScoreFillsEveryExpertAlikeAndDropsNothing) {
  for (const int32_t k : {1, 2, 3}) {
    constexpr int32_t kExperts = 5;
    constexpr int64_t kRows = 1300;  // three blocks, the last one short
    LayerRoutes routes = Routes(kRows, k, std::vector<int16_t>(static_cast<size_t>(kRows * k), 0));
    Dispatch({.rule = "max-score"}, Probabilities(kRows, kExperts, 3), kExperts, &routes);
    std::vector<int64_t> load(kExperts);
    for (int64_t row = 0; row < kRows; ++row) {
      const std::set<int16_t> own(routes.experts.begin() + row * k, routes.experts.begin() + (row + 1) * k);
      ASSERT_EQ(own.size(), static_cast<size_t>(k)) << row;
      for (const int16_t expert : own) {
        ASSERT_GE(expert, 0) << row;
        ++load[expert];
      }
    }
    for (const int64_t rows : load) EXPECT_LE(rows, kRows * k / kExperts + 3) << k;
  }
}

// Every way to give the rows a second expert, by trying them all; -1 when there is none.
double BestByTrial(const std::vector<float>& p, const std::vector<int16_t>& first, std::vector<int> room, size_t row = 0) {
  if (row == first.size()) return 0;
  double best = -1;
  for (size_t e = 0; e < room.size(); ++e) {
    if (room[e] == 0 || static_cast<int16_t>(e) == first[row]) continue;
    --room[e];
    const double rest = BestByTrial(p, first, room, row + 1);
    if (rest >= 0) best = std::max(best, rest + p[row * room.size() + e]);
    ++room[e];
  }
  return best;
}

TEST(DispatchTest, MaxScoresSecondExpertsAreTheBestAssignment) {
  constexpr int32_t kExperts = 4;
  constexpr int64_t kRows = 6;
  int moved = 0;
  for (uint32_t seed = 0; seed < 40; ++seed) {
    const std::vector<float> p = Probabilities(kRows, kExperts, seed);
    LayerRoutes routes = Routes(kRows, 2, std::vector<int16_t>(kRows * 2, 0));
    Dispatch({.rule = "max-score"}, p, kExperts, &routes);
    std::vector<int> room(kExperts, 3);  // 2 * 6 / 4
    std::vector<int16_t> first;
    for (int64_t row = 0; row < kRows; ++row) {
      first.push_back(routes.experts[row * 2]);
      --room[first.back()];
    }
    const double best = BestByTrial(p, first, room);
    if (best < 0) continue;  // the first slots left no way to give every row two
    double got = 0;
    for (int64_t row = 0; row < kRows; ++row) {
      const int16_t second = routes.experts[row * 2 + 1];
      ASSERT_GE(second, 0) << seed;
      got += p[row * kExperts + second];
      for (int32_t e = 0; e < kExperts; ++e) moved += e != first[row] && p[row * kExperts + e] > p[row * kExperts + second];
    }
    EXPECT_NEAR(got, best, 1e-5) << seed;
  }
  EXPECT_GT(moved, 20);  // rows that had to take less than their second choice
}

// Nobody asks twice for what was refused, so a row that has less than its wish finds that expert full of rows it scores higher.
TEST(DispatchTest, IterativeMaxScoreLeavesNoRowWithABetterExpertThatHasRoom) {
  constexpr int32_t kExperts = 5;
  constexpr int64_t kRows = 203;
  int refused = 0;
  for (uint32_t seed = 0; seed < 20; ++seed) {
    const std::vector<float> p = Probabilities(kRows, kExperts, seed);
    LayerRoutes routes = Routes(kRows, 2, std::vector<int16_t>(kRows * 2, 0));
    Dispatch({.rule = "max-score-iterative"}, p, kExperts, &routes);
    std::vector<int64_t> load(kExperts);
    for (const int16_t expert : routes.experts) load[expert] += expert != kDropped;
    const auto score = [&](int64_t row, int32_t e) { return e == kDropped ? 0 : p[row * kExperts + e]; };
    for (int64_t row = 0; row < kRows; ++row) {
      const int16_t first = routes.experts[row * 2], second = routes.experts[row * 2 + 1];
      ASSERT_NE(first, kDropped);
      ASSERT_NE(first, second);
      for (int32_t e = 0; e < kExperts; ++e) {
        if (e == first || e == second || score(row, e) <= score(row, second)) continue;
        ++refused;
        EXPECT_EQ(load[e], 82) << seed << " " << row;  // ceil(2 * 203 / 5): it is full
      }
    }
  }
  EXPECT_GT(refused, 100);
}

// Beside the exact assignment: never more in all, and not much less.
TEST(DispatchTest, IterativeMaxScoreIsNearTheBestAssignment) {
  constexpr int32_t kExperts = 6;
  constexpr int64_t kRows = 300;
  double exact = 0, iterative = 0;
  for (uint32_t seed = 0; seed < 10; ++seed) {
    const std::vector<float> p = Probabilities(kRows, kExperts, seed);
    double totals[2] = {};
    for (const int way : {0, 1}) {
      LayerRoutes routes = Routes(kRows, 2, std::vector<int16_t>(kRows * 2, 0));
      Dispatch({.rule = way == 0 ? "max-score" : "max-score-iterative"}, p, kExperts, &routes);
      int unassigned = 0;
      for (int64_t i = 0; i < kRows * 2; ++i) {
        unassigned += routes.experts[i] == kDropped;
        if (routes.experts[i] != kDropped) totals[way] += p[i / 2 * kExperts + routes.experts[i]];
      }
      EXPECT_LE(unassigned, way == 0 ? 0 : kRows / 50) << seed;  // the exact one finds everybody a place here
    }
    EXPECT_LE(totals[1], totals[0] + 1e-4) << seed;
    exact += totals[0];
    iterative += totals[1];
  }
  EXPECT_GT(iterative, .97 * exact);
  EXPECT_LT(iterative, exact);
}

// Where nobody is refused it is each row's own top-k.
TEST(DispatchTest, IterativeMaxScoreWithRoomIsTopK) {
  LayerRoutes routes = Routes(3, 2, {0, 0, 0, 0, 0, 0});
  Dispatch({.rule = "max-score-iterative"}, std::vector<float>{.6f, .3f, .1f, .1f, .6f, .3f, .3f, .1f, .6f}, 3, &routes);
  EXPECT_THAT(routes.experts, ::testing::ElementsAre(0, 1, 1, 2, 2, 0));
}

// Two rows ask for expert 1 in their second slots, which has room for one: the one it scores higher stays, the other asks on.
TEST(DispatchTest, IterativeMaxScoresExpertsKeepTheRowsTheyScoreHighest) {
  LayerRoutes routes = Routes(3, 2, {0, 0, 0, 0, 0, 0});  // each expert takes two
  Dispatch({.rule = "max-score-iterative"}, std::vector<float>{.5f, .3f, .2f, .5f, .4f, .1f, .1f, .5f, .4f}, 3, &routes);
  EXPECT_THAT(routes.experts, ::testing::ElementsAre(0, 2, 0, 1, 1, 2));
}

TEST(DispatchTest, MaxScoresFirstExpertIsTheBestWithRoom) {
  LayerRoutes routes = Routes(4, 1, {0, 0, 0, 0});  // capacity 2 of 2 experts
  Dispatch({.rule = "max-score"}, std::vector<float>{.9f, .1f, .8f, .2f, .7f, .3f, .6f, .4f}, 2, &routes);
  EXPECT_THAT(routes.experts, ::testing::ElementsAre(0, 0, 1, 1));
}

TEST(DispatchTest, RefusesWhatItDoesNotKnow) {
  EXPECT_EQ(CheckDispatch({.rule = "auction"}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CheckDispatch({.capacity_factor = 0}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(CheckDispatch({.rule = "max-score"}).ok());
  EXPECT_TRUE(CheckDispatch({.rule = "max-score-iterative"}).ok());
}

// Rows that all want the same two experts: trained, they are dealt out and the second expert speaks up; evaluated, each row has its own
// top-k.
TEST(DispatchTest, ARouterDispatchesWhileItTrainsAndNeverElse) {
  RouterOptions options{.kind = "linear", .top_k = 2, .gate = "raw", .compute = at::kFloat};
  options.dispatch.rule = "max-score";
  options.second_weight = 4;
  options.second_weight_steps = 10;
  const auto router = NewRouter(options, 1, 4, 4, 1);
  ASSERT_TRUE(router.ok()) << router.status();
  (*router)->LayerParameters(0)[0].value.detach().copy_(at::eye(4));
  const at::Tensor x = at::tensor({2.f, 1.f, 0.f, -1.f}).repeat({8, 1});
  at::Generator generator = at::detail::createCPUGenerator(1);
  const auto seconds = [&](int64_t step) {
    (*router)->BeforeStep(step);
    const auto out = (*router)->Forward(0, x, &generator);
    EXPECT_TRUE(out.ok()) << out.status();
    std::vector<int> load(4);
    for (const int16_t expert : out->routes.experts) ++load[expert];
    EXPECT_THAT(load, ::testing::Each(4));
    const int16_t second = out->routes.experts[1];
    const float gate = out->gates[0][second].item<float>();
    EXPECT_FLOAT_EQ(gate, out->routes.weights[1]);
    return gate / out->probabilities[0][second].item<float>();
  };
  EXPECT_NEAR(seconds(0), 4, 1e-5);
  EXPECT_NEAR(seconds(5), 2.5, 1e-5);
  EXPECT_NEAR(seconds(20), 1, 1e-5);
  (*router)->BeforeStep(0);
  const auto evaluated = (*router)->Forward(0, x, nullptr);
  ASSERT_TRUE(evaluated.ok());
  for (size_t i = 0; i < evaluated->routes.experts.size(); ++i) EXPECT_EQ(evaluated->routes.experts[i], static_cast<int16_t>(i % 2));
  EXPECT_NEAR(evaluated->gates[0][1].item<float>(), evaluated->probabilities[0][1].item<float>(), 1e-6);
}

TEST(DispatchTest, ExpertsChooseTheRowsTheyScoreHighest) {
  LayerRoutes routes = Routes(4, 3, std::vector<int16_t>(12, 0));
  // Expert 1 is never chosen; the other two take two rows each.
  Dispatch({.rule = "expert-choice", .capacity_factor = 1, .never = 1},
           std::vector<float>{.5f, .1f, .4f, .6f, .2f, .2f, .3f, .7f, 0.f, .5f, 0.f, .5f}, 3, &routes);
  EXPECT_THAT(routes.experts,
              ::testing::ElementsAre(0, 2, kDropped, 0, kDropped, kDropped, kDropped, kDropped, kDropped, 2, kDropped, kDropped));
}

RouterOptions ChoosingOptions() {
  RouterOptions options{.kind = "expert_choice", .top_k = 3, .gate = "raw", .compute = at::kFloat};
  options.dispatch.capacity_factor = 1;
  options.dispatch.never = 3;
  return options;
}

// Over the rows they were set on, thresholds choose what the experts choose.
TEST(ExpertChoiceTest, ThresholdsAreTheExactFormOverTheirRows) {
  const auto router = NewRouter(ChoosingOptions(), 1, 8, 4, 1);
  ASSERT_TRUE(router.ok()) << router.status();
  at::manual_seed(3);
  const at::Tensor x = at::randn({60, 8}) * 3;
  const auto exact = (*router)->Forward(0, x, nullptr);
  ASSERT_TRUE(exact.ok()) << exact.status();
  ASSERT_EQ(exact->routes.k, 4);
  EXPECT_TRUE(at::equal(exact->gates.gt(0).sum(0), at::tensor({20, 20, 20, 0}, at::kLong))) << exact->gates.gt(0).sum(0);
  ASSERT_TRUE((*router)->calibrates());
  (*router)->Calibrate(0, exact->probabilities);
  const auto threshold = (*router)->Forward(0, x, nullptr);
  ASSERT_TRUE(threshold.ok());
  EXPECT_EQ(threshold->routes.k, 3);
  EXPECT_TRUE(at::equal(threshold->gates, exact->gates));
  // Then a row's route is its own: alone it goes where it went among the others.
  const auto alone = (*router)->Forward(0, x.slice(0, 7, 8), nullptr);
  ASSERT_TRUE(alone.ok());
  EXPECT_TRUE(at::allclose(alone->gates, threshold->gates.slice(0, 7, 8), 0, 1e-6));
  EXPECT_EQ((*router)->Tensors(0).size(), 2u);
}

TEST(ExpertChoiceTest, OnlyWithItsOwnDispatchAndGate) {
  RouterOptions options = ChoosingOptions();
  options.gate = "renorm";
  EXPECT_EQ(NewRouter(options, 1, 8, 4, 1).status().code(), absl::StatusCode::kInvalidArgument);
  options = ChoosingOptions();
  options.dispatch.rule = "max-score";
  EXPECT_EQ(NewRouter(options, 1, 8, 4, 1).status().code(), absl::StatusCode::kInvalidArgument);
  options = {.kind = "linear", .top_k = 1, .gate = "raw"};
  options.dispatch.rule = "expert-choice";
  EXPECT_EQ(NewRouter(options, 1, 8, 4, 1).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace switchyard::trainer
