// A run that is killed and begun again takes the identical next step and ends at the identical router, whatever moves beside the gradients:
// biases, keys, frozen tables, schedules by step, recorded routes.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "tests/trainer/run/run_fixture.h"
#include "trainer/run/publish.h"

namespace switchyard::trainer {
namespace {

struct Case {
  std::string name;
  RouterOptions router;
  bool experts = false;  // train, too
  double orthogonality = 0;
  int64_t label_steps = 0;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

RouterOptions With(RouterOptions options, const std::function<void(RouterOptions&)>& change) {
  options.compute = at::kFloat;
  change(options);
  return options;
}

class ResumeTest : public ::testing::TestWithParam<Case> {
 protected:
  ResumeTest() : directory_(std::filesystem::temp_directory_path() / ("resume_" + GetParam().name + std::to_string(getpid()))) {
    std::filesystem::remove_all(directory_);
  }
  ~ResumeTest() override { std::filesystem::remove_all(directory_); }

  // A process of its own: everything is made anew.
  struct Process {
    explicit Process(const Case& c, const Dataset& data) : world("llama", at::kFloat, c.experts) {
      const ModelConfig& base = world.base().config;
      if (c.router.kind == "stablemoe") {
        std::vector<std::vector<Parameter>> layers;
        std::vector<at::Tensor> tables;
        at::manual_seed(6);
        for (int32_t l = 0; l < base.num_layers; ++l) {
          layers.push_back({MakeParameter(absl::StrFormat("layers.%d.router.weight", l), at::randn({3, base.hidden_size}) * .2, true)});
          layers.back()[0].value.requires_grad_(true);
          tables.push_back(at::randint(3, {base.vocab_size}, at::kInt));
        }
        router = MakeStableMoe(c.router, std::move(layers), std::move(tables));
      } else {
        auto made = NewRouter(c.router, base.num_layers, base.hidden_size, 3, 4);
        EXPECT_TRUE(made.ok()) << made.status();
        router = *std::move(made);
      }
      model = MakeFastModel(world.compute(), world.base(), world.experts(), {});
      task.model = model.get();
      task.experts = &world.experts();
      task.router = router.get();
      task.parameters = router->Parameters();
      for (const LoraExpert& expert : world.experts()) {
        for (Parameter& p : expert.Parameters()) task.parameters.push_back(p);
      }
      if (c.router.label_loss > 0) task.expert_of_domain = {1};
      if (c.router.roma > 0) {
        auto measured = RouteManifold::Measure(*model, *router, data, {.neighbours = 2, .layers = 2, .right = .5}, 40);
        EXPECT_TRUE(measured.ok()) << measured.status();
        manifold = *std::move(measured);
        task.manifold = &*manifold;
      }
    }
    // What is published of the router, measured thresholds included.
    std::vector<std::string> Published(const Dataset& data) {
      EXPECT_TRUE(CalibrateTrained(*model, *router, data).ok());
      std::vector<std::string> all;
      for (int32_t l = 0; l < router->num_layers(); ++l) {
        for (const TensorView& view : router->Tensors(l))
          all.push_back(view.name + std::string(reinterpret_cast<const char*>(view.data.data()), view.data.size()));
      }
      return all;
    }

    World world;
    std::unique_ptr<RouterModule> router;
    std::unique_ptr<TrainableModel> model;
    std::optional<RouteManifold> manifold;
    RunTask task;
  };

  RunOptions Options(const std::string& name) const {
    RunOptions options;
    options.directory = directory_ / name;
    options.steps = 10;
    options.examples_per_step = 6;
    options.tokens_per_pass = 30;  // several passes a step
    options.schedule.peak = 1e-2;
    options.checkpoint_every = 3;
    options.identity = "identity";
    options.orthogonality = GetParam().orthogonality;
    options.label_steps = GetParam().label_steps;
    return options;
  }

  const std::filesystem::path directory_;
  const Dataset train_ = TinyData(18, 71, 1);
  std::unique_ptr<Communicator> world_ = SingleProcess();
};

using Figures = std::vector<std::vector<std::pair<std::string, double>>>;

TEST_P(ResumeTest, AKilledRunTakesTheIdenticalNextStep) {
  struct Killed {};
  Figures whole_steps, resumed_steps;
  Process whole(GetParam(), train_);
  WatchingLog whole_log([&](const StepRecord& record) { whole_steps.push_back(record.scalars); });
  const auto first = Train(whole.task, train_, nullptr, Options("whole"), *world_, &whole_log);
  ASSERT_TRUE(first.ok()) << first.status();

  Process killed(GetParam(), train_);
  WatchingLog killing_log([](const StepRecord& record) {
    if (record.step == 8) throw Killed();
  });
  EXPECT_THROW((void)Train(killed.task, train_, nullptr, Options("killed"), *world_, &killing_log), Killed);

  Process resumed(GetParam(), train_);
  WatchingLog resumed_log([&](const StepRecord& record) { resumed_steps.push_back(record.scalars); });
  const auto second = Train(resumed.task, train_, nullptr, Options("killed"), *world_, &resumed_log);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_TRUE(second->resumed);
  EXPECT_EQ(resumed_log.from, 6);

  // Steps 7 to 10, figure by figure to the bit.
  ASSERT_EQ(whole_steps.size(), 10u);
  ASSERT_EQ(resumed_steps.size(), 4u);
  for (size_t i = 0; i < resumed_steps.size(); ++i) EXPECT_EQ(resumed_steps[i], whole_steps[6 + i]) << "step " << 7 + i;
  for (size_t i = 0; i < whole.task.parameters.size(); ++i) {
    EXPECT_TRUE(at::equal(whole.task.parameters[i].value, resumed.task.parameters[i].value)) << whole.task.parameters[i].name;
  }
  const std::vector<std::string> published = whole.Published(train_);
  EXPECT_EQ(published, resumed.Published(train_));
  // Training did something: what would be published at the start is something else.
  EXPECT_NE(published, Process(GetParam(), train_).Published(train_));
}

// With --train mlp keys and biases stand still as the router's parameters do.
TEST_P(ResumeTest, ARouterThatIsNotTrainedStaysAsItWas) {
  Case c = GetParam();
  c.experts = true;
  Process process(c, train_);
  process.task.parameters.clear();
  for (const LoraExpert& expert : process.world.experts()) {
    for (Parameter& p : expert.Parameters()) process.task.parameters.push_back(p);
  }
  std::vector<at::Tensor> before;
  for (const Parameter& p : process.router->Parameters()) before.push_back(p.value.detach().clone());
  ASSERT_TRUE(Train(process.task, train_, nullptr, Options("experts"), *world_, nullptr).ok());
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_TRUE(at::equal(process.router->Parameters()[i].value, before[i])) << process.router->Parameters()[i].name;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, ResumeTest,
    ::testing::Values(Case{"loss_free", With({.kind = "linear", .top_k = 2, .gate = "renorm"},
                                             [](RouterOptions& o) {
                                               o.loss_free = .05;
                                               o.load_target = {.6, .3, -1};
                                             })},
                      Case{"expert_choice", With({.kind = "expert_choice", .top_k = 2, .gate = "raw"},
                                                 [](RouterOptions& o) {
                                                   o.dispatch.never = 2;
                                                   o.dispatch.capacity_factor = 1;
                                                 })},
                      Case{"stablemoe", With({.kind = "stablemoe", .gate = "sigmoid"}, [](RouterOptions&) {})},
                      Case{"lpr", With({.kind = "lpr", .top_k = 2, .gate = "renorm"}, [](RouterOptions& o) { o.latent.dimension = 5; })},
                      Case{"lpr_ste_joint", With({.kind = "lpr", .jitter = .1}, [](RouterOptions& o) { o.latent.loss = .1; }), true},
                      Case{"capacity", With({.kind = "linear", .gate = "raw"}, [](RouterOptions& o) { o.dispatch.rule = "capacity"; })},
                      Case{"max_score", With({.kind = "linear", .top_k = 2, .gate = "raw"},
                                             [](RouterOptions& o) {
                                               o.dispatch.rule = "max-score";
                                               o.second_weight = 4;
                                               o.second_weight_steps = 10;
                                             })},
                      Case{"max_score_iterative", With({.kind = "linear", .top_k = 2, .gate = "raw"},
                                                       [](RouterOptions& o) {
                                                         o.dispatch.rule = "max-score-iterative";
                                                         o.second_weight = 4;
                                                         o.second_weight_steps = 10;
                                                       })},
                      Case{"roma", With({.kind = "linear", .gate = "ste"},
                                        [](RouterOptions& o) {
                                          o.roma = .8;
                                          o.roma_warmup_steps = 8;
                                        })},
                      Case{"specialization",
                           With({.kind = "linear", .top_k = 2, .gate = "raw", .balance = .01},
                                [](RouterOptions& o) { o.score_variance = .1; }),
                           true, .1},
                      Case{"label_steps", With({.dropout = .1}, [](RouterOptions& o) { o.label_loss = .1; }), false, 0, 7}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace switchyard::trainer
