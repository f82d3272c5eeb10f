// The hand-written passes against LibTorch's autograd over the formulas, on random models.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer/nn/nn_fixture.h"

namespace switchyard::trainer {
namespace {

struct Case {
  std::string name, architecture = "llama";
  std::string router = "";  // kind, "" for fixed routes
  int32_t top_k = 1;
  std::string gate = "ste";
  double balance = 0, z_loss = 0, jitter = 0, dropout = 0;
  bool experts = false, attention = false, recompute = false;
  double label_loss = 0;
  bool router_losses_only = false;
  size_t first_layer = 0;  // the experts have nothing below it
  double score_variance = 0, orthogonality = 0;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class GradientTest : public ::testing::TestWithParam<Case> {
 protected:
  // Forced routes mix experts, base and zero within and across sequences.
  static RoutePlan Fixed(const PackedBatch& batch) {
    RoutePlan plan;
    for (size_t row = 0; row < batch.tokens.size(); ++row) plan.forced.push_back(static_cast<int32_t>(row % 4) - 1);
    return plan;
  }

  std::unique_ptr<RouterModule> MakeRouter(const World& world) const {
    const Case& c = GetParam();
    if (c.router.empty()) return nullptr;
    RouterOptions options;
    options.kind = c.router;
    options.top_k = c.top_k;
    options.gate = c.gate;
    options.balance = c.balance;
    options.z_loss = c.z_loss;
    options.jitter = c.jitter;
    options.dropout = c.dropout;
    options.label_loss = c.label_loss;
    options.score_variance = c.score_variance;
    options.compute = world.compute().dtype;
    auto router = NewRouter(options, world.base().config.num_layers, world.base().config.hidden_size, 3, 17);
    EXPECT_TRUE(router.ok()) << router.status();
    // Decided enough that no selection hangs on rounding.
    for (Parameter& parameter : (*router)->Parameters()) parameter.value.detach().mul_(3.0);
    return *std::move(router);
  }

  struct Outcome {
    PassResult result;
    std::vector<Parameter> parameters;
  };
  Outcome Run(World& world, bool fast) const {
    const ModelOptions options{GetParam().attention, GetParam().recompute};
    for (LoraExpert& expert : world.experts()) {
      for (size_t l = 0; l < GetParam().first_layer; ++l) expert.layers[l] = LoraBlock();
    }
    const auto model = fast ? MakeFastModel(world.compute(), world.base(), world.experts(), options)
                            : MakeReferenceModel(world.compute(), world.base(), world.experts(), options);
    const auto router = MakeRouter(world);
    const PackedBatch batch = world.Batch();
    RoutePlan plan;
    plan.router = router.get();
    if (router == nullptr) plan = Fixed(batch);
    TrainPass pass;
    pass.loss_scale = 1.0 / static_cast<double>(batch.targets.size());
    pass.seed = 5;
    pass.orthogonality = GetParam().orthogonality;
    pass.router_loss_scale = .5;
    pass.router_losses_only = GetParam().router_losses_only;
    if (GetParam().label_loss > 0) {
      for (size_t row = 0; row < batch.tokens.size(); ++row) plan.targets.labels.push_back(static_cast<int32_t>(row % 4) - 1);
    }
    auto result = model->ForwardBackward(batch, plan, pass);
    EXPECT_TRUE(result.ok()) << result.status();
    Outcome outcome;
    if (result.ok()) outcome.result = *result;
    for (const LoraExpert& expert : world.experts()) {
      for (Parameter& p : expert.Parameters()) outcome.parameters.push_back(p);
    }
    if (router != nullptr) {
      for (Parameter& p : router->Parameters()) outcome.parameters.push_back(p);
    }
    for (Parameter& p : model->Parameters()) outcome.parameters.push_back(p);
    return outcome;
  }
};

TEST_P(GradientTest, EqualsAutograd) {
  World fast_world(GetParam().architecture, at::kFloat, GetParam().experts),
      slow_world(GetParam().architecture, at::kFloat, GetParam().experts);
  const Outcome fast = Run(fast_world, true), slow = Run(slow_world, false);
  EXPECT_NEAR(fast.result.loss, slow.result.loss, 1e-4 * slow.result.loss);
  EXPECT_EQ(fast.result.targets, slow.result.targets);
  EXPECT_EQ(fast.result.correct, slow.result.correct);
  EXPECT_NEAR(fast.result.router_loss, slow.result.router_loss, 1e-5);
  for (size_t i = 0; i < kNumLossParts; ++i) EXPECT_NEAR(fast.result.parts[i], slow.result.parts[i], 1e-5) << kLossNames[i];
  EXPECT_EQ(fast.result.parts[kOrthogonalityLoss] > 0, GetParam().orthogonality > 0);
  EXPECT_EQ(fast.result.expert_rows, slow.result.expert_rows);
  ASSERT_EQ(fast.parameters.size(), slow.parameters.size());
  ASSERT_FALSE(fast.parameters.empty());
  double largest = 0;
  for (const Parameter& p : slow.parameters) largest = std::max(largest, p.grad.abs().max().item<double>());
  ASSERT_GT(largest, 0);
  for (size_t i = 0; i < fast.parameters.size(); ++i) {
    ASSERT_EQ(fast.parameters[i].name, slow.parameters[i].name);
    const double off = (fast.parameters[i].grad - slow.parameters[i].grad).abs().max().item<double>();
    EXPECT_LT(off, 2e-4 * std::max(slow.parameters[i].grad.abs().max().item<double>(), 1e-2 * largest)) << fast.parameters[i].name;
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, GradientTest,
    ::testing::Values(
        Case{.name = "ExpertsLlama", .experts = true}, Case{.name = "ExpertsQwen2", .architecture = "qwen2", .experts = true},
        Case{.name = "ExpertsQwen3", .architecture = "qwen3", .experts = true},
        Case{.name = "ExpertsRecompute", .experts = true, .recompute = true},
        Case{.name = "ExpertsUpperLayers", .experts = true, .first_layer = 1},
        Case{.name = "ExpertsUpperLayersRecompute", .architecture = "qwen2", .experts = true, .recompute = true, .first_layer = 2},
        Case{.name = "RouterUpperLayers", .router = "dense2moe_mlp", .first_layer = 2},
        Case{.name = "JointUpperLayers", .router = "dense2moe_mlp", .top_k = 2, .gate = "renorm", .experts = true, .first_layer = 1},
        Case{.name = "AttentionUpperLayers", .experts = true, .attention = true, .first_layer = 2},
        Case{.name = "RouterTopOneSte", .router = "dense2moe_mlp", .balance = 0.1, .z_loss = 0.01},
        Case{.name = "RouterTopOneSteRecompute", .router = "dense2moe_mlp", .balance = 0.1, .recompute = true},
        Case{.name = "RouterTopTwo", .architecture = "qwen3", .router = "dense2moe_mlp", .top_k = 2, .gate = "renorm", .balance = 0.1},
        Case{.name = "LinearSwitch", .router = "linear", .gate = "raw", .balance = 0.1, .z_loss = 0.01},
        Case{.name = "LinearTopTwoRaw", .architecture = "qwen2", .router = "linear", .top_k = 2, .gate = "raw"},
        Case{.name = "LinearSigmoid", .router = "linear", .gate = "sigmoid", .balance = 0.3},
        Case{.name = "LatentPrototypes", .router = "lpr", .top_k = 2, .gate = "renorm", .balance = 0.1},
        Case{.name = "LatentPrototypesSteRecompute", .router = "lpr", .jitter = 0.1, .recompute = true},
        Case{.name = "JitterAndDropout", .router = "dense2moe_mlp", .jitter = 0.1, .dropout = 0.2},
        Case{.name = "JitterAndDropoutRecompute", .router = "dense2moe_mlp", .jitter = 0.1, .dropout = 0.2, .recompute = true},
        Case{.name = "Labels", .router = "dense2moe_mlp", .label_loss = 0.3},
        Case{.name = "LabelsOnly", .router = "dense2moe_mlp", .balance = 0.1, .label_loss = 0.3, .router_losses_only = true},
        Case{.name = "Joint", .router = "dense2moe_mlp", .top_k = 2, .gate = "renorm", .experts = true},
        Case{.name = "JointSteAttention", .router = "linear", .experts = true, .attention = true},
        Case{.name = "ScoreVariance", .router = "linear", .top_k = 2, .gate = "renorm", .score_variance = 0.5},
        Case{.name = "ScoreVarianceSigmoid", .router = "linear", .gate = "sigmoid", .score_variance = 0.5},
        Case{.name = "Orthogonality", .router = "linear", .top_k = 2, .gate = "raw", .experts = true, .orthogonality = 0.1},
        Case{.name = "OrthogonalityQwen3Recompute",
             .architecture = "qwen3",
             .router = "dense2moe_mlp",
             .top_k = 2,
             .gate = "renorm",
             .experts = true,
             .attention = true,
             .recompute = true,
             .score_variance = 0.2,
             .orthogonality = 0.1},
        Case{.name = "AttentionQwen3", .architecture = "qwen3", .experts = true, .attention = true, .recompute = true},
        Case{.name = "AttentionQwen2", .architecture = "qwen2", .attention = true}),
    [](const auto& info) { return info.param.name; });

// methods.md 1.7, item 5: p = (1/3, 1/3, 1/3) and <g, delta> = (1, 2, -1).
TEST(StraightThroughTest, GradientOfTheLogits) {
  RouterOptions options;
  options.kind = "linear";
  options.compute = at::kFloat;
  auto router = NewRouter(options, 1, 1, 3, 1);
  ASSERT_TRUE(router.ok()) << router.status();
  for (Parameter& p : (*router)->Parameters()) p.value.detach().zero_();
  const auto out = (*router)->Forward(0, at::ones({1, 1}), nullptr);
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_TRUE(out->dense_gradient);
  EXPECT_TRUE(at::equal(out->gates.detach(), at::tensor({1.0f, 0.0f, 0.0f}).view({1, 3})));
  out->gates.backward(at::tensor({1.0f, 2.0f, -1.0f}).view({1, 3}));
  const at::Tensor grad = (*router)->Parameters()[0].value.grad().flatten();
  EXPECT_TRUE(at::allclose(grad, at::tensor({0.1111111f, 0.4444444f, -0.5555556f}), 0, 1e-6)) << grad;
}

TEST(RouterOptionsTest, RefusesWhatCannotLearn) {
  RouterOptions options;
  options.gate = "renorm";
  EXPECT_EQ(NewRouter(options, 1, 8, 3, 1).status().code(), absl::StatusCode::kInvalidArgument);
  options = {.top_k = 2, .gate = "ste"};
  EXPECT_EQ(NewRouter(options, 1, 8, 3, 1).status().code(), absl::StatusCode::kInvalidArgument);
  options = {.top_k = 4, .gate = "raw"};
  EXPECT_EQ(NewRouter(options, 1, 8, 3, 1).status().code(), absl::StatusCode::kInvalidArgument);
  options = {.kind = "psychic"};
  EXPECT_THAT(std::string(Message(NewRouter(options, 1, 8, 3, 1).status())), ::testing::HasSubstr("psychic"));
}

RouterOptions LossFree(std::vector<double> target, double rate) {
  RouterOptions options{.kind = "linear", .compute = at::kFloat};
  options.loss_free = rate;
  options.load_target = std::move(target);
  return options;
}

at::Tensor SelectionBias(const RouterModule& router) { return router.LayerState(0)[0].value; }

// Counts (6, 1, 1) against an equal share: the bias moves by (-0.001, 0.001, 0.001).
TEST(LossFreeTest, PublishedVector) {
  const auto router = NewRouter(LossFree({1.0 / 3, 1.0 / 3, 1.0 / 3}, 1e-3), 1, 4, 3, 1);
  ASSERT_TRUE(router.ok()) << router.status();
  EXPECT_EQ(SelectionBias(**router).abs().max().item<float>(), 0);
  (*router)->AfterStep(std::vector<double>{6, 1, 1});
  EXPECT_TRUE(at::allclose(SelectionBias(**router), at::tensor({-.001f, .001f, .001f}), 0, 1e-9)) << SelectionBias(**router);
}

TEST(LossFreeTest, ZeroTakesWhatComes) {
  const auto router = NewRouter(LossFree({.5, .25, -1}, .01), 1, 4, 3, 1);
  ASSERT_TRUE(router.ok());
  (*router)->AfterStep(std::vector<double>{3, 2, 3});  // wanted are 4 and 2
  EXPECT_TRUE(at::allclose(SelectionBias(**router), at::tensor({.01f, 0.f, 0.f}), 0, 1e-9)) << SelectionBias(**router);
}

// A router that prefers the first expert everywhere deals the rows out as wanted once the bias has found its place; the weights stay the
// softmax's.
TEST(LossFreeTest, LoadReachesItsTargetAndWeightsStayTheProbabilities) {
  RouterOptions options = LossFree({.5, .3, .2}, .004);
  options.gate = "raw";
  const auto router = NewRouter(options, 1, 6, 3, 1);
  ASSERT_TRUE(router.ok());
  at::manual_seed(4);
  const at::Tensor x = at::cat({at::randn({400, 5}) * .5, at::ones({400, 1})}, 1);
  (*router)->LayerParameters(0)[0].value.detach().select(1, 5).copy_(at::tensor({2.f, 0.f, -1.f}));
  std::vector<double> rows(3);
  const auto count = [&] {
    const auto out = (*router)->Forward(0, x, nullptr);
    EXPECT_TRUE(out.ok());
    rows.assign(3, 0);
    for (size_t i = 0; i < out->routes.experts.size(); ++i) {
      rows[out->routes.experts[i]] += 1;
      EXPECT_FLOAT_EQ(out->routes.weights[i], out->probabilities[static_cast<int64_t>(i)][out->routes.experts[i]].item<float>());
    }
  };
  count();
  EXPECT_GT(rows[0], 320);
  for (int step = 0; step < 400; ++step) {
    const auto out = (*router)->Forward(0, x, nullptr);
    std::vector<double> chosen(3);
    for (const int16_t expert : out->routes.experts) chosen[expert] += 1;
    (*router)->AfterStep(chosen);
  }
  count();
  EXPECT_NEAR(rows[0], 200, 30);
  EXPECT_NEAR(rows[1], 120, 30);
  EXPECT_NEAR(rows[2], 80, 30);
}

// The bias is kept with the parameters, and has no gradient.
TEST(LossFreeTest, TheBiasIsStateAndNoParameterOfALayer) {
  const auto router = NewRouter(LossFree({.5, .3, -1}, .004), 2, 6, 3, 1);
  ASSERT_TRUE(router.ok());
  EXPECT_EQ((*router)->LayerParameters(1).size(), 1u);
  ASSERT_EQ((*router)->Parameters().size(), 4u);
  EXPECT_EQ((*router)->Parameters()[3].name, "layers.1.router.selection_bias");
  EXPECT_FALSE((*router)->Parameters()[3].value.requires_grad());
  EXPECT_FALSE((*router)->Parameters()[3].decay);
  EXPECT_EQ((*router)->Tensors(1).size(), 2u);
}

TEST(LossFreeTest, IsOfTheLinearKindAndKnowsItsExperts) {
  RouterOptions options = LossFree({.5, .5, -1}, .004);
  options.kind = "dense2moe_mlp";
  EXPECT_THAT(std::string(Message(NewRouter(options, 1, 8, 3, 1).status())), ::testing::HasSubstr("of router kind linear"));
  EXPECT_THAT(std::string(Message(NewRouter(LossFree({1}, .1), 1, 8, 3, 1).status())),
              ::testing::HasSubstr("a target of 1 experts, expected 3"));
}

// Rounding to bf16 is noise of 2^-8 a product: the direction of a step stays.
TEST(FastModelTest, Bf16GradientsPointTheSameWay) {
  World exact("llama", at::kFloat, true), rounded("llama", at::kBFloat16, true);
  std::vector<std::vector<Parameter>> grads;
  for (World* world : {&exact, &rounded}) {
    const auto model = MakeFastModel(world->compute(), world->base(), world->experts(), {});
    const PackedBatch batch = world->Batch();
    RoutePlan plan;
    plan.forced.assign(batch.tokens.size(), 0);
    ASSERT_TRUE(model->ForwardBackward(batch, plan, {}).ok());
    grads.push_back(world->experts()[0].Parameters());
  }
  for (size_t i = 0; i < grads[0].size(); ++i) {
    const at::Tensor a = grads[0][i].grad.flatten(), b = grads[1][i].grad.flatten();
    EXPECT_GT(at::dot(a, b).item<double>() / (a.norm() * b.norm()).item<double>(), 0.99) << grads[0][i].name;
  }
}

// A router learns from differences between experts, of what waited in 16 bits.
TEST(FastModelTest, Bf16RouterGradientsPointTheSameWay) {
  for (const int32_t top_k : {1, 2}) {
    World exact("llama", at::kFloat, false), rounded("llama", at::kBFloat16, false);
    std::vector<at::Tensor> grads;
    for (World* world : {&exact, &rounded}) {
      const auto model = MakeFastModel(world->compute(), world->base(), world->experts(), {});
      const PackedBatch batch = world->Batch();
      const auto router = NewRouter({.top_k = top_k, .gate = top_k == 1 ? "ste" : "renorm", .compute = at::kFloat},
                                    world->base().config.num_layers, world->base().config.hidden_size, 3, 17);
      ASSERT_TRUE(router.ok()) << router.status();
      for (Parameter& parameter : (*router)->Parameters()) parameter.value.detach().mul_(3.0);
      RoutePlan plan;
      plan.router = router->get();
      ASSERT_TRUE(model->ForwardBackward(batch, plan, {}).ok());
      std::vector<at::Tensor> all;
      for (const Parameter& parameter : (*router)->Parameters()) all.push_back(parameter.grad.flatten());
      grads.push_back(at::cat(all));
    }
    EXPECT_GT(at::dot(grads[0], grads[1]).item<double>() / (grads[0].norm() * grads[1].norm()).item<double>(), 0.98) << "top " << top_k;
  }
}

TEST(FastModelTest, DropoutIsDrawnAlikeWhenALayerIsRecomputed) {
  World first("llama", at::kFloat, true), second("llama", at::kFloat, true);
  std::vector<std::vector<Parameter>> grads;
  for (const auto& [world, recompute] : {std::pair{&first, false}, std::pair{&second, true}}) {
    const auto model = MakeFastModel(world->compute(), world->base(), world->experts(), {false, recompute});
    const PackedBatch batch = world->Batch();
    RoutePlan plan;
    plan.forced.assign(batch.tokens.size(), 1);
    TrainPass pass;
    pass.lora_dropout = 0.3;
    pass.seed = 3;
    ASSERT_TRUE(model->ForwardBackward(batch, plan, pass).ok());
    grads.push_back(world->experts()[1].Parameters());
  }
  for (size_t i = 0; i < grads[0].size(); ++i) {
    EXPECT_TRUE(at::equal(grads[0][i].grad, grads[1][i].grad)) << grads[0][i].name;
    EXPECT_GT(grads[0][i].grad.abs().max().item<double>(), 0);
  }
}

TEST(FastModelTest, EvaluationEqualsTheReference) {
  World fast_world("qwen3", at::kFloat, false), slow_world("qwen3", at::kFloat, false);
  const PackedBatch batch = fast_world.Batch();
  RouterOptions options{.top_k = 2, .gate = "renorm", .compute = at::kFloat};
  const auto router = NewRouter(options, fast_world.base().config.num_layers, fast_world.base().config.hidden_size, 3, 17);
  ASSERT_TRUE(router.ok());
  RoutePlan plan;
  plan.router = router->get();
  EvaluationDetail fast, slow;
  const auto a = MakeFastModel(fast_world.compute(), fast_world.base(), fast_world.experts(), {})->Evaluate(batch, plan, &fast);
  const auto b = MakeReferenceModel(slow_world.compute(), slow_world.base(), slow_world.experts(), {})->Evaluate(batch, plan, &slow);
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_NEAR(a->loss, b->loss, 1e-4 * b->loss);
  ASSERT_EQ(fast.log_probs.size(), batch.targets.size());
  EXPECT_EQ(fast.correct, slow.correct);
  EXPECT_EQ(std::count(fast.correct.begin(), fast.correct.end(), true), a->correct);
  for (size_t i = 0; i < fast.log_probs.size(); ++i) EXPECT_NEAR(fast.log_probs[i], slow.log_probs[i], 1e-3);
  ASSERT_EQ(fast.routes.size(), slow.routes.size());
  for (size_t l = 0; l < fast.routes.size(); ++l) EXPECT_EQ(fast.routes[l].experts, slow.routes[l].experts);
}

}  // namespace
}  // namespace switchyard::trainer
