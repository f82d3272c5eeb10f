// What is published is what was trained: the server's own loader reads it and computes the same.
#include "trainer/run/publish.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "engine/runner/runner_factory.h"
#include "tests/trainer/run/run_fixture.h"
#include "trainer/run/distilled_tables.h"

namespace switchyard::trainer {
namespace {

class PublishTest : public ::testing::Test {
 protected:
  PublishTest() : directory_(std::filesystem::temp_directory_path() / ("publish_" + std::to_string(getpid()))) {
    std::filesystem::remove_all(directory_);
    EXPECT_TRUE(testing::WriteTinyBase(directory_ / "base", Shape("llama")).ok());
    base_ = *ReadBaseWeights(directory_ / "base", "f32", 64);
    compute_ = {at::kFloat, &pool_};
    for (int i = 0; i < 2; ++i) {
      // The second one has no down projection, and nothing in the first layer.
      const LoraOptions options{.rank = 3, .alpha = 5, .down = i == 0, .first_layer = i};
      LoraExpert expert = NewLoraExpert(compute_, "expert" + std::to_string(i), base_.config, options, 5 + i);
      for (Parameter& p : expert.Parameters()) {
        if (p.name.ends_with("lora_B")) p.value.uniform_(-0.3, 0.3);
      }
      expert.Repack();
      const std::string directory = directory_ / expert.name;
      EXPECT_TRUE(WriteLoraExpert(expert, options, "tiny", directory).ok());
      const auto written = ReadPeftAdapter(directory, base_.config, {});
      EXPECT_TRUE(written.ok()) << written.status();
      EXPECT_EQ(written->layers[0].gate.has_value(), i == 0);
      EXPECT_TRUE(written->layers[1].gate.has_value());
      expert.generation = written->generation;
      experts_.push_back(std::move(expert));
    }
    experts_.push_back(ZeroLoraExpert("zero", base_.config));
    model_ = MakeFastModel(compute_, base_, experts_, {});
  }
  ~PublishTest() override { std::filesystem::remove_all(directory_); }

  // The artifact at `path` is what was published of `router`: the server's runner makes the same routes, weights and log-probabilities.
  void ExpectServedAlike(const RouterModule& router, const std::string& path) {
    const Dataset data = TinyData(8, base_.config.vocab_size, 3);
    RunnerOptions runner_options;
    runner_options.base_directory = directory_ / "base";
    runner_options.experts = {{"expert0", directory_ / "expert0"}, {"expert1", directory_ / "expert1"}, {"zero", ""}};
    runner_options.router_directory = path;
    runner_options.dtype = "f32";
    const auto loaded = LoadRunner(runner_options);
    ASSERT_TRUE(loaded.ok()) << loaded.status();

    const PackedBatch batch = Pack(data, {0, 3, 5});
    RoutePlan plan;
    plan.router = &router;
    EvaluationDetail detail;
    ASSERT_TRUE(model_->Evaluate(batch, plan, &detail).ok());
    Step step;
    step.snapshot = loaded->runner->snapshot();
    step.tokens.assign(batch.tokens.begin(), batch.tokens.end());
    RoutingPolicy policy;
    std::vector<int32_t> slots(batch.tokens.size());
    for (size_t i = 0; i < slots.size(); ++i) slots[i] = static_cast<int32_t>(i);
    for (const auto& s : batch.segments)
      step.segments.push_back({s.begin, s.end, std::span(slots).subspan(s.begin, s.end - s.begin), &policy, true});
    for (size_t i = 0; i < batch.rows.size(); ++i) step.logprobs.push_back({batch.rows[i], batch.targets[i]});
    const auto result = loaded->runner->Run(step);
    ASSERT_TRUE(result.ok()) << result.status();
    const auto layers = static_cast<size_t>(base_.config.num_layers);
    for (size_t s = 0; s < batch.segments.size(); ++s) {
      const RouteTrace& trace = result->routes[s];
      for (int32_t row = 0; row < trace.rows; ++row) {
        for (size_t l = 0; l < layers; ++l) {
          const LayerRoutes& ours = detail.routes[l];
          const int64_t at = (batch.segments[s].begin + row) * ours.k,
                        theirs = (row * static_cast<int64_t>(layers) + static_cast<int64_t>(l)) * trace.k;
          for (int32_t slot = 0; slot < ours.k; ++slot) {
            EXPECT_EQ(ours.experts[at + slot], trace.experts[theirs + slot]);
            EXPECT_NEAR(ours.weights[at + slot], trace.weights[theirs + slot], 1e-4);
          }
        }
      }
    }
    ASSERT_EQ(result->logprobs.size(), detail.log_probs.size());
    for (size_t i = 0; i < detail.log_probs.size(); ++i) EXPECT_NEAR(result->logprobs[i].logprob, detail.log_probs[i], 1e-4);
  }

  std::filesystem::path directory_;
  kernels::ThreadPool pool_{2};
  TrainCompute compute_;
  BaseWeights base_;
  std::vector<LoraExpert> experts_;
  std::unique_ptr<TrainableModel> model_;
};

TEST_F(PublishTest, TheServersLoaderGivesTheSameRoutesAndLogProbabilities) {
  for (const auto& [kind, k, gate] :
       {std::tuple{"dense2moe_mlp", 1, "ste"}, std::tuple{"dense2moe_mlp", 2, "renorm"}, std::tuple{"linear", 1, "raw"},
        std::tuple{"linear", 2, "renorm"}, std::tuple{"lpr", 1, "raw"}, std::tuple{"lpr", 2, "renorm"}}) {
    RouterOptions options{.kind = kind, .top_k = k, .gate = gate, .compute = at::kFloat};
    const bool loss_free = options.kind == "linear" && k == 2;
    if (loss_free) {
      options.loss_free = .2;
      options.load_target = {.5, .3, -1};
    }
    const auto router = NewRouter(options, base_.config.num_layers, base_.config.hidden_size, 3, 8);
    ASSERT_TRUE(router.ok()) << router.status();
    for (Parameter& p : (*router)->Parameters()) p.value.detach().mul_(4);
    // Moves the bias of both experts, up and down.
    std::vector<double> rows;
    for (int32_t l = 0; l < base_.config.num_layers; ++l) rows.insert(rows.end(), {1, 9, 2});
    if (loss_free) (*router)->AfterStep(rows);
    const std::string path = directory_ / absl::StrFormat("router-%s-%d-%s", kind, k, gate);
    const Dataset data = TinyData(8, base_.config.vocab_size, 3);
    ASSERT_TRUE(PublishRouter(*model_, base_, experts_, **router, data, data, {"r", false, path}).ok());
    ExpectServedAlike(**router, path);
    // Read again to go on with, it is what it was, to the bit.
    const auto artifact = ReadRouterArtifact(path);
    ASSERT_TRUE(artifact.ok()) << artifact.status();
    const auto again = ReadRouter(*artifact, options);
    ASSERT_TRUE(again.ok()) << again.status();
    const std::vector<Parameter> before = (*router)->Parameters(), after = (*again)->Parameters();
    ASSERT_EQ(before.size(), after.size());
    for (size_t i = 0; i < before.size(); ++i) {
      EXPECT_EQ(before[i].name, after[i].name);
      EXPECT_TRUE(at::equal(before[i].value, after[i].value)) << before[i].name;
    }
  }
}

TEST_F(PublishTest, ThresholdsAreMeasuredAndServed) {
  RouterOptions options{.kind = "expert_choice", .top_k = 2, .gate = "raw", .compute = at::kFloat};
  options.dispatch.never = 2;
  options.dispatch.capacity_factor = 1;
  const auto router = NewRouter(options, base_.config.num_layers, base_.config.hidden_size, 3, 8);
  ASSERT_TRUE(router.ok()) << router.status();
  for (Parameter& p : (*router)->Parameters()) p.value.detach().mul_(4);
  const Dataset data = TinyData(40, base_.config.vocab_size, 3);
  ASSERT_TRUE(CalibrateTrained(*model_, **router, data).ok());
  const std::string path = directory_ / "choice";
  ASSERT_TRUE(PublishRouter(*model_, base_, experts_, **router, data, data, {"r", false, path}).ok());
  ExpectServedAlike(**router, path);
  const auto artifact = ReadRouterArtifact(path);
  ASSERT_TRUE(artifact.ok());
  EXPECT_GT(artifact->manifest.golden_probes, 0);
  for (const std::vector<float>& shares : artifact->manifest.load_shares) {
    EXPECT_NEAR(shares[0], .5, .1);  // each of the two takes half of the rows, up to what the second round of measuring moved
    EXPECT_EQ(shares[2], 0);
  }
  // Read again to go on with, it routes by the same thresholds.
  const auto again = ReadRouter(*artifact, options);
  ASSERT_TRUE(again.ok()) << again.status();
  ExpectServedAlike(**again, path);
}

// First stage, tables of what it chose, second stage: each served as it was trained.
TEST_F(PublishTest, StableMoeFreezesWhatItsFirstStageChose) {
  RouterOptions options{.kind = "linear", .top_k = 1, .gate = "sigmoid", .compute = at::kFloat};
  const auto drawn = NewRouter(options, base_.config.num_layers, base_.config.hidden_size, 3, 8);
  ASSERT_TRUE(drawn.ok()) << drawn.status();
  for (Parameter& p : (*drawn)->Parameters()) p.value.detach().mul_(4);
  const Dataset data = TinyData(40, base_.config.vocab_size, 3);
  ASSERT_TRUE(PublishRouter(*model_, base_, experts_, **drawn, data, data, {"r", false, directory_ / "stage1"}).ok());
  ExpectServedAlike(**drawn, directory_ / "stage1");
  const auto first = ReadRouterArtifact(directory_ / "stage1");
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(first->manifest.weight_mode, "sigmoid");

  const auto distilled = DistilTables(*model_, **drawn, data, base_.config.vocab_size, /*unseen=*/2, /*tokens_per_pass=*/50);
  ASSERT_TRUE(distilled.ok()) << distilled.status();
  RoutePlan plan;
  plan.router = drawn->get();
  EvaluationDetail detail;
  std::vector<int64_t> everything(data.examples.size());
  for (size_t i = 0; i < everything.size(); ++i) everything[i] = static_cast<int64_t>(i);
  const PackedBatch batch = Pack(data, everything);
  ASSERT_TRUE(model_->Evaluate(batch, plan, &detail).ok());
  double repeated = 0;
  for (int32_t l = 0; l < base_.config.num_layers; ++l) {
    for (int32_t id = 0; id < base_.config.vocab_size; ++id) {
      std::vector<int> counts(3);
      for (size_t row = 0; row < batch.tokens.size(); ++row) counts[detail.routes[l].experts[row]] += batch.tokens[row] == id;
      const auto most = std::max_element(counts.begin(), counts.end());
      EXPECT_EQ(distilled->tables[l][id], *most > 0 ? most - counts.begin() : 2) << l << " " << id;
      repeated += *most;
    }
  }
  EXPECT_NEAR(distilled->agreement, repeated / static_cast<double>(batch.tokens.size() * base_.config.num_layers), 1e-9);
  EXPECT_LT(distilled->seen, base_.config.vocab_size + 1);

  options.kind = "stablemoe";
  const auto second = StableMoeFrom(*first, options, distilled->tables);
  ASSERT_TRUE(second.ok()) << second.status();
  ASSERT_TRUE(PublishRouter(*model_, base_, experts_, **second, data, data, {"r", false, directory_ / "stage2"}).ok());
  ExpectServedAlike(**second, directory_ / "stage2");
  const auto artifact = ReadRouterArtifact(directory_ / "stage2");
  ASSERT_TRUE(artifact.ok());
  EXPECT_EQ(artifact->manifest.golden_probes, 0);
  const auto again = ReadRouter(*artifact, options);
  ASSERT_TRUE(again.ok()) << again.status();
  ExpectServedAlike(**again, directory_ / "stage2");
  EXPECT_EQ(StableMoeFrom(*artifact, options, distilled->tables).status().code(), absl::StatusCode::kInvalidArgument);
}

// What the router chose over the training data, as the server counts it when the same tokens come again.
TEST_F(PublishTest, LoadSharesAreWhatTheServerWouldCount) {
  const RouterOptions options{.kind = "linear", .top_k = 2, .gate = "renorm", .compute = at::kFloat};
  const auto router = NewRouter(options, base_.config.num_layers, base_.config.hidden_size, 3, 8);
  ASSERT_TRUE(router.ok()) << router.status();
  for (Parameter& p : (*router)->Parameters()) p.value.detach().mul_(4);
  const Dataset data = TinyData(8, base_.config.vocab_size, 3);
  ASSERT_TRUE(PublishRouter(*model_, base_, experts_, **router, data, data, {"r", false, directory_ / "router"}).ok());
  RunnerOptions runner_options;
  runner_options.base_directory = directory_ / "base";
  runner_options.experts = {{"expert0", directory_ / "expert0"}, {"expert1", directory_ / "expert1"}, {"zero", ""}};
  runner_options.router_directory = directory_ / "router";
  runner_options.dtype = "f32";
  const auto loaded = LoadRunner(runner_options);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const PackedBatch batch = Pack(data, {0, 1, 2, 3, 4, 5, 6, 7});
  const RoutingPolicy policy;
  std::vector<int32_t> slots(batch.tokens.size());
  for (size_t i = 0; i < slots.size(); ++i) slots[i] = static_cast<int32_t>(i);
  Step step;
  step.snapshot = loaded->runner->snapshot();
  step.tokens.assign(batch.tokens.begin(), batch.tokens.end());
  for (const auto& s : batch.segments)
    step.segments.push_back({s.begin, s.end, std::span(slots).subspan(s.begin, s.end - s.begin), &policy});
  const auto result = loaded->runner->Run(step);
  ASSERT_TRUE(result.ok()) << result.status();
  const SnapshotInfo& info = step.snapshot->info();
  ASSERT_EQ(info.trained_load.size(), result->counts.learned_tokens.size());
  for (size_t i = 0; i < info.trained_load.size(); ++i) {
    EXPECT_NEAR(info.trained_load[i],
                static_cast<double>(result->counts.learned_tokens[i]) / (2.0 * static_cast<double>(batch.tokens.size())), 1e-6)
        << i;
  }
}

TEST_F(PublishTest, ABaseWithTrainedAttentionIsAnotherGeneration) {
  const auto model = MakeFastModel(compute_, base_, experts_, {.train_attention = true});
  for (Parameter& p : model->Parameters()) p.value.mul_(1.25);
  ASSERT_TRUE(PublishBase(base_, model->Parameters(), directory_ / "changed").ok());
  const auto changed = ReadBaseWeights(directory_ / "changed", "f32", 64);
  ASSERT_TRUE(changed.ok()) << changed.status();
  EXPECT_NE(changed->generation, base_.generation);
  for (size_t l = 0; l < base_.layers.size(); ++l) {
    EXPECT_TRUE(at::allclose(changed->layers[l].qkv, base_.layers[l].qkv * 1.25));
    EXPECT_TRUE(at::allclose(changed->layers[l].o, base_.layers[l].o * 1.25));
    EXPECT_TRUE(at::equal(changed->layers[l].gate, base_.layers[l].gate));
  }
}

}  // namespace
}  // namespace switchyard::trainer
