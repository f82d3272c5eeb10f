// Routers that are made, against closed forms over the experts' own matrices; and the server that loads them.
#include "trainer/run/calibration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "engine/runner/runner_factory.h"
#include "tests/trainer/run/run_fixture.h"
#include "trainer/run/gate_training.h"
#include "trainer/run/hash_tables.h"

namespace switchyard::trainer {
namespace {

using ::testing::HasSubstr;

constexpr int kTrained = 3;

class CalibrationTest : public ::testing::Test {
 protected:
  CalibrationTest() : directory_(std::filesystem::temp_directory_path() / ("calibration_" + std::to_string(getpid()))) {
    at::manual_seed(41);
    std::filesystem::remove_all(directory_);
    const testing::TinyModelSpec spec = Shape("llama");
    EXPECT_TRUE(testing::WriteTinyBase(directory_ / "base", spec).ok());
    base_ = *ReadBaseWeights(directory_ / "base", "f32", 64);
    for (int i = 0; i < kTrained; ++i) {
      EXPECT_TRUE(testing::WriteTinyExpert(Directory(i), spec, 3 + i, 11 + i).ok());
      experts_.push_back(Read(i));
    }
    newcomer_ = std::make_unique<LoraExpert>(std::move(experts_.back()));
    experts_.pop_back();
    experts_.push_back(ZeroLoraExpert("zero", base_.config));
    model_ = MakeFastModel(compute_, base_, experts_, {});
    // Two domains that bear experts' names, and general text.
    data_ = TinyData(24, base_.config.vocab_size, 3);
    data_.domains = {"expert0", "expert1", "general"};
    for (size_t i = 0; i < data_.examples.size(); ++i) data_.examples[i].domain = static_cast<int32_t>(i % 3);
    states_ = *CollectHiddenStates(*model_, 3, data_, {0, 1, -1}, {.rows = 60, .rows_per_example = 3});
    input_.base = &base_;
    input_.experts = &experts_;
    input_.states = &states_;
    input_.expert_of_domain = {0, 1, -1};
  }
  ~CalibrationTest() override { std::filesystem::remove_all(directory_); }

  std::string Directory(int i) const { return directory_ / absl::StrFormat("expert%d", i); }
  LoraExpert Read(int i) { return *ReadLoraExpert(compute_, absl::StrFormat("expert%d", i), Directory(i), base_.config, false); }
  RouterAssembly Made(const CalibrationOptions& options) {
    auto router = CalibrateRouter(options, input_);
    EXPECT_TRUE(router.ok()) << router.status();
    return *std::move(router);
  }
  Status Refused(const CalibrationOptions& options) { return CalibrateRouter(options, input_).status(); }
  at::Tensor Delta(const LoraExpert& expert, int32_t l) const {
    const LoraMatrix& gate = *expert.layers[l].gate;
    return gate.scale() * at::matmul(gate.b().value.to(at::kDouble), gate.a().value.to(at::kDouble));
  }
  at::Tensor Logits(const RouterAssembly& router, int32_t l, const at::Tensor& x) const {
    auto loaded = router.Route(plain_);
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    return (*loaded)->Logits(l, x).to(at::kDouble);
  }
  std::vector<std::vector<at::Tensor>> Gates() const {
    std::vector<std::vector<at::Tensor>> gates(experts_.size());
    for (size_t e = 0; e + 1 < experts_.size(); ++e) {
      for (int32_t l = 0; l < base_.config.num_layers; ++l) gates[e].push_back(at::randn({base_.config.hidden_size}));
    }
    return gates;
  }
  // What the server makes of a router directory, experts in its order.
  LoadedRunner Serve(const std::string& router, const std::vector<RunnerOptions::Expert>& experts) const {
    RunnerOptions options;
    options.base_directory = directory_ / "base";
    options.experts = experts;
    options.router_directory = router;
    options.dtype = "f32";
    auto loaded = LoadRunner(options);
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    return std::move(loaded).value();
  }
  // Slot by slot the expert's name, token by token and layer by layer.
  static std::vector<std::string> Served(const LoadedRunner& loaded, const std::shared_ptr<const Snapshot>& snapshot,
                                         const PackedBatch& batch, std::vector<float>* weights) {
    Step step;
    step.snapshot = snapshot;
    step.tokens.assign(batch.tokens.begin(), batch.tokens.end());
    const RoutingPolicy policy;
    std::vector<int32_t> slots(batch.tokens.size());
    for (size_t i = 0; i < slots.size(); ++i) slots[i] = static_cast<int32_t>(i);
    for (const auto& s : batch.segments)
      step.segments.push_back({s.begin, s.end, std::span(slots).subspan(s.begin, s.end - s.begin), &policy, true});
    const auto result = loaded.runner->Run(step);
    EXPECT_TRUE(result.ok()) << result.status();
    std::vector<std::string> names;
    for (const RouteTrace& trace : result->routes) {
      for (const ExpertIndex expert : trace.experts) names.push_back(expert == kNoExpert ? "-" : snapshot->info().experts[expert].name);
      weights->insert(weights->end(), trace.weights.begin(), trace.weights.end());
    }
    return names;
  }

  std::filesystem::path directory_;
  kernels::ThreadPool pool_{2};
  TrainCompute compute_{at::kFloat, &pool_};
  const Compute plain_{};
  BaseWeights base_;
  std::vector<LoraExpert> experts_;       // expert0, expert1, zero
  std::unique_ptr<LoraExpert> newcomer_;  // expert2
  std::unique_ptr<TrainableModel> model_;
  Dataset data_;
  HiddenStates states_;
  CalibrationInput input_;
};

double Largest(const at::Tensor& difference) { return difference.abs().max().item<double>(); }

TEST_F(CalibrationTest, HiddenStatesAreTheModelsOwnAndDomainsTakeTurns) {
  ASSERT_EQ(states_.layers.size(), 3u);
  EXPECT_EQ(states_.layers[0].sizes().vec(), (std::vector<int64_t>{60, base_.config.hidden_size}));
  EXPECT_EQ(std::vector<int32_t>(states_.domains.begin(), states_.domains.begin() + 6), (std::vector<int32_t>{0, 1, 2, 0, 1, 2}));
  // General text sees the base, whoever answers elsewhere; a domain's rows see its expert.
  const auto by_base = CollectHiddenStates(*model_, 3, data_, {-1, -1, -1}, {.rows = 60, .rows_per_example = 3});
  ASSERT_TRUE(by_base.ok());
  const auto row = [](const HiddenStates& states, int64_t i) { return states.layers[2][i]; };
  EXPECT_LT(Largest(row(*by_base, 2) - row(states_, 2)), 1e-6);
  EXPECT_GT(Largest(row(*by_base, 0) - row(states_, 0)), 1e-4);
  const auto again = CollectHiddenStates(*model_, 3, data_, {0, 1, -1}, {.rows = 60, .rows_per_example = 3});
  EXPECT_TRUE(at::equal(again->layers[1], states_.layers[1]));
  EXPECT_EQ(CollectHiddenStates(*model_, 3, Dataset{}, {}, {}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(CalibrationTest, ArrowNeedsNoData) {
  input_.states = nullptr;
  const RouterAssembly router = Made({.kind = "arrow", .temperature = .5, .zero_score = .25});
  EXPECT_EQ(router.manifest().derive, "top_direction");
  EXPECT_EQ(router.manifest().golden_probes, 0);
  const at::Tensor x = at::randn({20, base_.config.hidden_size}, at::kDouble);
  for (int32_t l = 0; l < base_.config.num_layers; ++l) {
    const at::Tensor logits = Logits(router, l, x.to(at::kFloat));
    for (int e = 0; e < 2; ++e) {
      const at::Tensor v = std::get<2>(at::linalg_svd(Delta(experts_[e], l), false))[0];
      EXPECT_LT(Largest(logits.select(1, e) - at::mv(x, v).abs() / .5), 1e-4);
    }
    EXPECT_LT(Largest(logits.select(1, 2) - .25), 1e-6);
  }
}

TEST_F(CalibrationTest, AoeIsTheDeltasLengthOverItsMeanInTheSample) {
  const RouterAssembly router = Made({.kind = "aoe", .sample_rows = 20});
  for (int32_t l = 0; l < base_.config.num_layers; ++l) {
    const at::Tensor sample = router.Find(l, "sample")->to(at::kDouble), x = states_.layers[l].to(at::kDouble);
    ASSERT_EQ(sample.size(0), 20);
    const at::Tensor logits = Logits(router, l, states_.layers[l]);
    for (int e = 0; e < 2; ++e) {
      const auto length = [&](const at::Tensor& rows) { return at::matmul(rows, Delta(experts_[e], l).t()).norm(2, 1); };
      EXPECT_LT(Largest(logits.select(1, e) - length(x) / length(sample).mean()), 1e-4);
    }
  }
  const RouterAssembly plain = Made({.kind = "aoe", .norm = "norm_a", .calibrated = false});
  EXPECT_EQ(plain.Find(0, "sample"), nullptr);
  const at::Tensor a = experts_[1].layers[0].gate->a().value.to(at::kDouble);
  EXPECT_LT(Largest(Logits(plain, 0, states_.layers[0]).select(1, 1) - at::matmul(states_.layers[0].to(at::kDouble), a.t()).norm(2, 1)),
            1e-4);
}

TEST_F(CalibrationTest, ErmoeIsTheShareOfTheInput) {
  const RouterAssembly router = Made({.kind = "ermoe"});
  const at::Tensor x = states_.layers[1].to(at::kDouble);
  const at::Tensor v = std::get<2>(at::linalg_svd(Delta(experts_[0], 1), false)).slice(0, 0, 3);
  EXPECT_LT(Largest(Logits(router, 1, states_.layers[1]).select(1, 0).exp() - at::matmul(x, v.t()).norm(2, 1) / x.norm(2, 1)), 1e-5);
}

// Of the general rows the quantile's share is below zero's score: they stay with the base.
TEST_F(CalibrationTest, ZeroKeepsItsShareOfTheGeneralRows) {
  for (const std::string kind : {"arrow", "aoe", "ermoe", "gmm", "phatgoose"}) {
    input_.gates = Gates();
    const RouterAssembly router = Made({.kind = kind, .zero_quantile = .75});
    for (int32_t l = 0; l < base_.config.num_layers; ++l) {
      const at::Tensor logits = Logits(router, l, states_.layers[l]);
      int kept = 0, general = 0;
      for (size_t row = 0; row < states_.domains.size(); ++row) {
        if (states_.domains[row] != 2) continue;
        ++general;
        kept += logits[static_cast<int64_t>(row)].argmax().item<int64_t>() == 2;
      }
      EXPECT_NEAR(static_cast<double>(kept) / general, .75, .05) << kind << " layer " << l;
    }
  }
}

TEST_F(CalibrationTest, SavedAndLoadedIsWhatWasInMemory) {
  for (const std::string kind : {"arrow", "aoe", "ermoe", "gmm", "phatgoose"}) {
    input_.gates = Gates();
    const RouterAssembly router = Made({.kind = kind, .top_k = 2});
    const std::string path = directory_ / ("saved-" + kind);
    ASSERT_TRUE(router.Write(path).ok());
    const auto artifact = ReadRouterArtifact(path);
    ASSERT_TRUE(artifact.ok()) << artifact.status();
    EXPECT_EQ(artifact->manifest.derive, router.manifest().derive);
    EXPECT_GT(artifact->manifest.golden_probes, 0) << kind;
    EXPECT_TRUE(artifact->manifest.separable);
    const auto loaded = LoadRouter(*artifact, plain_);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_TRUE(ReplayGoldenProbes(*artifact, **loaded, plain_).ok());
    for (int32_t l = 0; l < base_.config.num_layers; ++l) {
      EXPECT_TRUE(at::equal((*loaded)->Logits(l, states_.layers[l]).to(at::kDouble), Logits(router, l, states_.layers[l]))) << kind;
    }
    EXPECT_EQ(router.Write(path).code(), absl::StatusCode::kAlreadyExists);
  }
}

TEST_F(CalibrationTest, TheTrainersRoutesAreTheServers) {
  for (const std::string kind : {"arrow", "aoe", "ermoe", "gmm", "phatgoose"}) {
    input_.gates = Gates();
    const std::string path = directory_ / ("served-" + kind);
    ASSERT_TRUE(Made({.kind = kind, .top_k = 2, .zero_quantile = .3}).Write(path).ok());
    const auto module = ReadRouter(*ReadRouterArtifact(path), {.top_k = 2, .gate = "renorm", .compute = at::kFloat});
    ASSERT_TRUE(module.ok()) << module.status();
    EXPECT_TRUE((*module)->Parameters().empty());
    const PackedBatch batch = Pack(data_, {0, 4, 8, 11});
    RoutePlan plan;
    plan.router = module->get();
    EvaluationDetail detail;
    ASSERT_TRUE(model_->Evaluate(batch, plan, &detail).ok());
    const LoadedRunner loaded = Serve(path, {{"expert0", Directory(0)}, {"expert1", Directory(1)}, {"zero", ""}});
    std::vector<float> weights;
    const std::vector<std::string> served = Served(loaded, loaded.runner->snapshot(), batch, &weights);
    size_t next = 0;
    for (const PackedBatch::Segment& segment : batch.segments) {
      for (int32_t row = segment.begin; row < segment.end; ++row) {
        for (const LayerRoutes& routes : detail.routes) {
          for (int32_t slot = 0; slot < 2; ++slot, ++next) {
            ASSERT_LT(next, served.size());
            EXPECT_EQ(experts_[routes.experts[row * 2 + slot]].name, served[next]) << kind;
            EXPECT_NEAR(routes.weights[row * 2 + slot], weights[next], 1e-3) << kind;
          }
        }
      }
    }
    EXPECT_EQ(std::set<std::string>(served.begin(), served.end()).size(), 3u) << kind << ": the comparison sees every expert";
  }
}

// A server whose router was made without expert2 routes as one whose router was made with it.
TEST_F(CalibrationTest, AnExpertThatJoinsAServerIsRoutedToAtOnce) {
  for (const std::string kind : {"arrow", "aoe", "ermoe"}) {
    const std::string path = directory_ / ("before-" + kind), with = directory_ / ("with-" + kind);
    ASSERT_TRUE(Made({.kind = kind, .zero_quantile = .3}).Write(path).ok());
    const auto added = AddExpert(*ReadRouterArtifact(path), base_, *newcomer_, {}, nullptr, {});
    ASSERT_TRUE(added.ok()) << added.status();
    ASSERT_TRUE(added->Write(with).ok());

    const std::vector<RunnerOptions::Expert> three = {{"expert0", Directory(0)}, {"expert1", Directory(1)}, {"zero", ""}};
    LoadedRunner loaded = Serve(path, three);
    ASSERT_TRUE(loaded.plan.router->info().separable);
    SnapshotPlan plan = loaded.plan;
    const auto part = loaded.builder->LoadExpert(Directory(2));
    ASSERT_TRUE(part.ok()) << part.status();
    plan.experts.push_back({"expert2", *part});
    EXPECT_EQ(loaded.builder->Build(plan).status().code(), absl::StatusCode::kFailedPrecondition);  // not without saying so
    plan.allow_masking = true;
    const auto grown = loaded.builder->Build(plan);
    ASSERT_TRUE(grown.ok()) << grown.status();

    std::vector<RunnerOptions::Expert> four = three;
    four.push_back({"expert2", Directory(2)});
    const LoadedRunner made = Serve(with, four);
    const PackedBatch batch = Pack(data_, {0, 1, 2, 3, 4, 5, 6, 7});
    std::vector<float> weights, wanted;
    const std::vector<std::string> routes = Served(loaded, *grown, batch, &weights);
    EXPECT_EQ(routes, Served(made, made.runner->snapshot(), batch, &wanted)) << kind;
    EXPECT_GT(std::count(routes.begin(), routes.end(), "expert2"), 0) << kind;
    // Replaced under its name by what the router was not made with, an expert is scored by its own matrices too; the old one is masked.
    SnapshotPlan replaced = loaded.plan;
    replaced.allow_masking = true;
    replaced.experts[0].part = *part;
    const auto swapped = loaded.builder->Build(replaced);
    ASSERT_TRUE(swapped.ok()) << swapped.status();
    std::vector<float> some;
    const std::vector<std::string> now = Served(loaded, *swapped, batch, &some);
    EXPECT_GT(std::count(now.begin(), now.end(), "expert0"), 0) << kind;
  }
}

TEST_F(CalibrationTest, AddingKeepsWhatWasThere) {
  input_.gates = Gates();
  const std::string path = directory_ / "goose";
  const RouterAssembly before = Made({.kind = "phatgoose"});
  ASSERT_TRUE(before.Write(path).ok());
  const auto artifact = ReadRouterArtifact(path);
  std::vector<at::Tensor> gate;
  for (int32_t l = 0; l < base_.config.num_layers; ++l) gate.push_back(at::randn({base_.config.hidden_size}));
  const auto added = AddExpert(*artifact, base_, *newcomer_, gate, nullptr, {});
  ASSERT_TRUE(added.ok()) << added.status();
  ASSERT_EQ(added->manifest().experts.size(), 4u);
  EXPECT_EQ(added->manifest().experts[3].name, "expert2");
  for (const char* name : {"gate.0", "gate.1", "zero_score"}) EXPECT_TRUE(at::equal(*added->Find(1, name), *before.Find(1, name))) << name;
  EXPECT_TRUE(at::equal(*added->Find(1, "gate.3"), gate[1]));
  EXPECT_LT(Largest(Logits(*added, 1, states_.layers[1]).slice(1, 0, 3) - Logits(before, 1, states_.layers[1])), 1e-6);
  EXPECT_EQ(AddExpert(*artifact, base_, *newcomer_, {}, nullptr, {}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(AddExpert(*artifact, base_, experts_[0], gate, nullptr, {}).status().code(), absl::StatusCode::kAlreadyExists);
  BaseWeights other = base_;
  other.generation = "another";
  EXPECT_EQ(AddExpert(*artifact, other, *newcomer_, gate, nullptr, {}).status().code(), absl::StatusCode::kFailedPrecondition);
}

// Each expert's mixture is the one fitted to its own rows in the shared projection, and one that joins is fitted in the same.
TEST_F(CalibrationTest, GmmIsFittedToEachExpertsOwnRows) {
  const CalibrationOptions options{.kind = "gmm", .dimensions = 5, .mixture = {.components = 2}};
  const RouterAssembly router = Made(options);
  EXPECT_TRUE(router.manifest().separable);
  EXPECT_EQ(router.manifest().derive, "");
  const std::string path = directory_ / "gmm";
  ASSERT_TRUE(router.Write(path).ok());
  HiddenStates own;
  for (const at::Tensor& layer : states_.layers) own.layers.push_back(layer.slice(0, 1, 60, 3));  // every third: expert1's
  for (int32_t l = 0; l < base_.config.num_layers; ++l) {
    const auto projection = PrincipalComponents(states_.layers[l], 5);
    ASSERT_TRUE(projection.ok());
    const auto fit = FitMixture(Project(*projection, own.layers[l]), options.mixture);
    ASSERT_TRUE(fit.ok()) << fit.status();
    EXPECT_LT(Largest(Logits(router, l, states_.layers[l]).select(1, 1) - LogDensity(*fit, Project(*projection, states_.layers[l]))), 1e-3);
  }
  const auto artifact = ReadRouterArtifact(path);
  const auto added = AddExpert(*artifact, base_, *newcomer_, {}, &own, options);
  ASSERT_TRUE(added.ok()) << added.status();
  const at::Tensor logits = Logits(*added, 2, states_.layers[2]);
  EXPECT_TRUE(at::equal(logits.select(1, 3), logits.select(1, 1)));  // of the same rows: the same density
  EXPECT_EQ(AddExpert(*artifact, base_, *newcomer_, {}, nullptr, options).status().code(), absl::StatusCode::kInvalidArgument);
  input_.expert_of_domain = {0, -1, -1};
  EXPECT_THAT(std::string(Message(Refused(options))), HasSubstr("no --data expert1=PATH"));
}

// An expert that has learned the data by heart helps on it: its gate opens.
TEST_F(CalibrationTest, AGateLearnsWhatItsExpertIsGoodFor) {
  RunOptions run;
  run.directory = directory_ / "gate-run";
  run.steps = 25;
  run.examples_per_step = 8;
  run.schedule = {.2, 0, 1};
  LoraExpert trained = NewLoraExpert(compute_, "tiny", base_.config, {.rank = 4, .alpha = 16}, 5);
  std::vector<LoraExpert> one;
  one.push_back(std::move(trained));
  const auto model = MakeFastModel(compute_, base_, one, {});
  RunTask task;
  task.model = model.get();
  task.experts = &one;
  task.parameters = one[0].Parameters();
  RunOptions expert_run = run;
  expert_run.steps = 60;
  expert_run.schedule = {.02, 0, 1};
  expert_run.checkpoint_every = 0;
  const auto world = SingleProcess();
  ASSERT_TRUE(Train(task, data_, nullptr, expert_run, *world, nullptr).ok());
  std::vector<LoraExpert> frozen;
  ASSERT_TRUE(WriteLoraExpert(one[0], {.rank = 4, .alpha = 16}, "tiny", directory_ / "tiny").ok());
  frozen.push_back(*ReadLoraExpert(compute_, "tiny", directory_ / "tiny", base_.config, false));
  frozen.push_back(ZeroLoraExpert("zero", base_.config));
  const auto gated = MakeFastModel(compute_, base_, frozen, {});
  const auto gate = TrainGate(*gated, frozen, 0, base_.config, data_, run, *world);
  ASSERT_TRUE(gate.ok()) << gate.status();
  ASSERT_EQ(gate->size(), static_cast<size_t>(base_.config.num_layers));
  const auto seen = CollectHiddenStates(*gated, 2, data_, {0, 0, 0}, {.rows = 60});
  double open = 0;
  for (int32_t l = 0; l < base_.config.num_layers; ++l) {
    open += at::sigmoid(at::mv(seen->layers[l], (*gate)[l])).mean().item<double>() / base_.config.num_layers;
  }
  EXPECT_GT(open, .6);
  EXPECT_FALSE(std::filesystem::exists(directory_ / "gate-run"));
}

TEST_F(CalibrationTest, WhatIsMissingIsNamed) {
  const auto said = [&](const CalibrationOptions& options) { return std::string(Message(Refused(options))); };
  EXPECT_THAT(said({.kind = "linear"}), HasSubstr("expected arrow, aoe, ermoe, gmm, hash or phatgoose"));
  EXPECT_THAT(said({.kind = "aoe", .norm = "norm_c"}), HasSubstr("norm_c"));
  EXPECT_THAT(said({.temperature = 0}), HasSubstr("--temperature"));
  EXPECT_THAT(said({.kind = "aoe", .temperature = 2}), HasSubstr("of the kind arrow"));
  EXPECT_THAT(said({.top_k = 4}), HasSubstr("expected 1 to 3"));
  EXPECT_THAT(said({.weight_mode = "half"}), HasSubstr("half"));
  EXPECT_THAT(said({.kind = "ermoe", .zero_score = 1.5}), HasSubstr("a share"));
  EXPECT_THAT(said({.kind = "phatgoose"}), HasSubstr("needs a gate of each expert"));
  input_.states = nullptr;
  EXPECT_THAT(said({.kind = "arrow"}), HasSubstr("--zero-score"));
  EXPECT_THAT(said({.kind = "aoe", .zero_score = 1}), HasSubstr("--data"));
  EXPECT_THAT(said({.kind = "gmm", .zero_score = 1}), HasSubstr("--data NAME=PATH"));
  experts_[1].layers[0].gate.reset();  // somewhere else it has a gate delta
  EXPECT_TRUE(Refused({.zero_score = 1}).ok());
  for (LoraBlock& block : experts_[1].layers) block.gate.reset();
  EXPECT_THAT(said({.zero_score = 1}), HasSubstr("expert expert1 changes no gate projection"));
}

// Written, read and run over tokens: every row goes where its layer's table sends its id, with weight 1.
TEST_F(CalibrationTest, HashRoutesInTheModelByTheTableOfTheArtifact) {
  const auto made = MakeHashRouter({.name = "by id", .table = "balanced"}, base_, experts_, data_);
  ASSERT_TRUE(made.ok()) << made.status();
  const std::string out = directory_ / "hash";
  ASSERT_TRUE(made->Write(out).ok());
  const auto artifact = ReadRouterArtifact(out);
  ASSERT_TRUE(artifact.ok()) << artifact.status();
  EXPECT_EQ(artifact->manifest.load_shares.size(), static_cast<size_t>(base_.config.num_layers));
  const auto router = MakeServed(*artifact, {.kind = "hash", .compute = at::kFloat});
  ASSERT_TRUE(router.ok()) << router.status();
  const PackedBatch batch = Pack(data_, {0, 1, 2});
  RoutePlan plan;
  plan.router = router->get();
  const auto reference = MakeReferenceModel(compute_, base_, experts_, {});
  for (TrainableModel* model : {model_.get(), reference.get()}) {
    EvaluationDetail detail;
    const auto result = model->Evaluate(batch, plan, &detail);
    ASSERT_TRUE(result.ok()) << result.status();
    for (int32_t l = 0; l < base_.config.num_layers; ++l) {
      const at::Tensor table = *made->Find(l, "table");
      for (size_t row = 0; row < batch.tokens.size(); ++row) {
        ASSERT_EQ(detail.routes[l].experts[row], table[batch.tokens[row]].item<int32_t>()) << l << " " << row;
        ASSERT_EQ(detail.routes[l].weights[row], 1.0f);
      }
    }
  }
}

}  // namespace
}  // namespace switchyard::trainer
