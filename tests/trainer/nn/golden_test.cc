// Losses and gradients against PyTorch's: transformers + PEFT for an expert, formulas in plain torch for routers
// (tests/golden/make_training_goldens.py).
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "engine/artifact/safetensors.h"
#include "engine/tensor/compute.h"
#include "trainer/nn/model.h"

namespace switchyard::trainer {
namespace {

struct GoldenCase {
  const char* name;
  const char* second;  // the expert beside `plain`
};
void PrintTo(const GoldenCase& c, std::ostream* out) { *out << c.name; }

class TrainingGoldenTest : public ::testing::TestWithParam<GoldenCase> {
 protected:
  void SetUp() override {
    const std::string name = GetParam().name, model = "tests/golden/model/" + name;
    file_ = *SafetensorsFile::Open("tests/golden/training/" + name + ".safetensors");
    auto base = ReadBaseWeights(model + "/model", "f32", 64);
    ASSERT_TRUE(base.ok()) << base.status();
    base_ = *std::move(base);
    compute_ = {at::kFloat, &pool_};
    experts_directory_ = model + "/experts/";
  }

  at::Tensor Tensor(const std::string& name, at::ScalarType dtype = at::kFloat) const {
    const auto view = file_->Get(name);
    EXPECT_TRUE(view.ok()) << view.status();
    return *TensorFromView(*view, dtype);
  }

  LoraExpert Expert(const std::string& name, bool trainable) {
    auto expert = ReadLoraExpert(compute_, name, experts_directory_ + name, base_.config, trainable);
    EXPECT_TRUE(expert.ok()) << expert.status();
    return *std::move(expert);
  }

  PackedBatch Batch() const {
    PackedBatch batch;
    const at::Tensor begins = Tensor("answer_begin", at::kLong);
    for (int64_t s = 0; s < begins.numel(); ++s) {
      const at::Tensor tokens = Tensor("tokens." + std::to_string(s), at::kLong);
      const auto first = static_cast<int32_t>(batch.tokens.size());
      for (int64_t i = 0; i < tokens.numel(); ++i) {
        batch.tokens.push_back(static_cast<int32_t>(tokens[i].item<int64_t>()));
        if (i < begins[s].item<int64_t>()) continue;
        batch.rows.push_back(first + static_cast<int32_t>(i) - 1);
        batch.targets.push_back(batch.tokens.back());
      }
      batch.segments.push_back({first, static_cast<int32_t>(batch.tokens.size()), 0});
    }
    return batch;
  }

  static void ExpectClose(const at::Tensor& ours, const at::Tensor& golden, const std::string& what) {
    EXPECT_LT((ours - golden).abs().max().item<double>(), 1e-4 * std::max(golden.abs().max().item<double>(), 1e-3)) << what;
  }

  kernels::ThreadPool pool_{2};
  std::shared_ptr<const SafetensorsFile> file_;
  TrainCompute compute_;
  BaseWeights base_;
  std::string experts_directory_;
};

TEST_P(TrainingGoldenTest, AnExpertsGradientsArePefts) {
  std::vector<LoraExpert> experts;
  experts.push_back(Expert("plain", true));
  const auto model = MakeFastModel(compute_, base_, experts, {});
  const PackedBatch batch = Batch();
  RoutePlan plan;
  plan.forced.assign(batch.tokens.size(), 0);
  TrainPass pass;
  pass.loss_scale = 1.0 / static_cast<double>(batch.targets.size());
  const auto result = model->ForwardBackward(batch, plan, pass);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_NEAR(result->loss * pass.loss_scale, Tensor("expert.loss").item<double>(), 1e-4 * result->loss * pass.loss_scale);
  for (size_t l = 0; l < experts[0].layers.size(); ++l) {
    const LoraBlock& block = experts[0].layers[l];
    for (const auto& [name, matrix] :
         {std::pair{"gate_proj", &block.gate}, std::pair{"up_proj", &block.up}, std::pair{"down_proj", &block.down}}) {
      const std::string key = "expert.grad." + std::to_string(l) + "." + name;
      ASSERT_TRUE(matrix->has_value()) << key;
      ExpectClose((*matrix)->a().grad, Tensor(key + ".a"), key + ".a");
      ExpectClose((*matrix)->b().grad, Tensor(key + ".b"), key + ".b");
    }
  }
}

TEST_P(TrainingGoldenTest, RoutersLearnAsTheFormulasSay) {
  for (const std::string kind : {"ste", "renorm"}) {
    std::vector<LoraExpert> experts;
    experts.push_back(Expert("plain", false));
    experts.push_back(Expert(GetParam().second, false));
    experts.push_back(ZeroLoraExpert("zero", base_.config));
    const RouterOptions options{
        .top_k = kind == "ste" ? 1 : 2, .gate = kind, .balance = 0.1, .z_loss = kind == "ste" ? 0.01 : 0, .compute = at::kFloat};
    const auto router = NewRouter(options, base_.config.num_layers, base_.config.hidden_size, 3, 1);
    ASSERT_TRUE(router.ok()) << router.status();
    const auto key = [&](const char* what, const Parameter& p) {  // "layers.L.router.NAME" -> "router.KIND.WHAT.L.NAME"
      const std::string rest = p.name.substr(std::string("layers.").size());
      const size_t dot = rest.find('.');
      return "router." + kind + "." + what + "." + rest.substr(0, dot) + rest.substr(dot + std::string(".router").size());
    };
    for (Parameter& p : (*router)->Parameters()) p.value.detach().copy_(Tensor(key("weight", p)));
    const auto model = MakeFastModel(compute_, base_, experts, {});
    const PackedBatch batch = Batch();
    RoutePlan plan;
    plan.router = router->get();
    TrainPass pass;
    pass.loss_scale = 1.0 / static_cast<double>(batch.targets.size());
    const auto result = model->ForwardBackward(batch, plan, pass);
    ASSERT_TRUE(result.ok()) << result.status();
    const double ce = result->loss * pass.loss_scale;
    EXPECT_NEAR(ce, Tensor("router." + kind + ".ce").item<double>(), 1e-4 * ce);
    EXPECT_NEAR(ce + result->router_loss, Tensor("router." + kind + ".loss").item<double>(), 1e-4 * ce);
    for (const Parameter& p : (*router)->Parameters()) ExpectClose(p.grad, Tensor(key("grad", p)), key("grad", p));
  }
}

INSTANTIATE_TEST_SUITE_P(Models, TrainingGoldenTest,
                         ::testing::Values(GoldenCase{"llama", "rslora"}, GoldenCase{"qwen3", "rslora"}, GoldenCase{"qwen2", "narrow"}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace switchyard::trainer
