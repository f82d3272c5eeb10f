#include "trainer/run/training_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>

#include "tests/trainer/run/run_fixture.h"

namespace switchyard::trainer {
namespace {

class TrainingRunTest : public ::testing::Test {
 protected:
  TrainingRunTest() : directory_(std::filesystem::temp_directory_path() / ("training_run_" + std::to_string(getpid()))) {
    std::filesystem::remove_all(directory_);
  }
  ~TrainingRunTest() override { std::filesystem::remove_all(directory_); }

  RunOptions Options(const std::string& name) const {
    RunOptions options;
    options.directory = directory_ / name;
    options.steps = 12;
    options.examples_per_step = 6;
    options.schedule.peak = 1e-2;
    options.evaluate_every = 4;
    options.checkpoint_every = 3;
    options.identity = "identity";
    options.lora_dropout = 0.1;
    return options;
  }

  struct Experiment {
    explicit Experiment(const std::string& kind) : world("llama", at::kFloat, kind != "router") {
      if (kind != "expert") {
        RouterOptions options{.balance = 0.01, .jitter = 0.01, .dropout = 0.1, .compute = at::kFloat};
        router = *NewRouter(options, world.base().config.num_layers, world.base().config.hidden_size,
                            static_cast<int32_t>(world.experts().size()), 4);
        task.router = router.get();
        task.parameters = router->Parameters();
      }
      for (const LoraExpert& expert : world.experts()) {
        for (Parameter& p : expert.Parameters()) task.parameters.push_back(p);
      }
      model = MakeFastModel(world.compute(), world.base(), world.experts(), {});
      task.model = model.get();
      task.experts = &world.experts();
      if (kind == "expert") task.forced = 0;
    }
    World world;
    std::unique_ptr<RouterModule> router;
    std::unique_ptr<TrainableModel> model;
    RunTask task;
  };

  static void ExpectSameParameters(const Experiment& a, const Experiment& b, double tolerance) {
    ASSERT_EQ(a.task.parameters.size(), b.task.parameters.size());
    for (size_t i = 0; i < a.task.parameters.size(); ++i) {
      const at::Tensor x = a.task.parameters[i].value.detach(), y = b.task.parameters[i].value.detach();
      if (tolerance == 0) {
        EXPECT_TRUE(at::equal(x, y)) << a.task.parameters[i].name;
      } else {
        EXPECT_LT((x - y).abs().max().item<double>(), tolerance) << a.task.parameters[i].name;
      }
    }
  }

  const std::filesystem::path directory_;
  const Dataset train_ = TinyData(18, 71, 1), validation_ = TinyData(6, 71, 2);
  std::unique_ptr<Communicator> world_ = SingleProcess();
};

TEST_F(TrainingRunTest, LearnsByHeart) {
  for (const std::string kind : {"expert", "router", "joint"}) {
    Experiment experiment(kind);
    RunOptions options = Options(kind);
    options.steps = 40;
    options.lora_dropout = 0;
    std::vector<double> losses;
    WatchingLog log([&](const StepRecord& record) { losses.push_back(record.scalars[0].second); });
    const auto report = Train(experiment.task, train_, nullptr, options, *world_, &log);
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->steps, 40);
    ASSERT_EQ(losses.size(), 40u);
    EXPECT_LT(losses.back(), losses.front() * (kind == "router" ? 0.999 : 0.5)) << kind;
  }
}

TEST_F(TrainingRunTest, AStoppedRunGoesOnToTheSameBits) {
  for (const std::string kind : {"expert", "joint"}) {
    Experiment whole(kind), stopped(kind), resumed(kind);
    ASSERT_TRUE(Train(whole.task, train_, &validation_, Options(kind + "whole"), *world_, nullptr).ok());
    std::atomic<bool> stop = false;
    RunOptions options = Options(kind + "parts");
    options.stop = &stop;
    WatchingLog log([&](const StepRecord& record) { stop = record.step == 7; });
    const auto first = Train(stopped.task, train_, &validation_, options, *world_, &log);
    ASSERT_TRUE(first.ok()) << first.status();
    EXPECT_TRUE(first->stopped);
    EXPECT_EQ(first->steps, 7);
    stop = false;
    WatchingLog second_log([](const StepRecord&) {});
    const auto second = Train(resumed.task, train_, &validation_, options, *world_, &second_log);
    ASSERT_TRUE(second.ok()) << second.status();
    EXPECT_TRUE(second->resumed);
    EXPECT_THAT(second_log.events, ::testing::Contains("resumed"));
    EXPECT_EQ(second->steps, 12);
    ExpectSameParameters(whole, resumed, 0);
  }
}

// What kill -9 leaves: the last checkpoint, and perhaps a half-written one beside it.
TEST_F(TrainingRunTest, AKilledRunGoesOnFromItsLastCheckpoint) {
  struct Killed {};
  Experiment whole("joint"), killed("joint"), resumed("joint");
  ASSERT_TRUE(Train(whole.task, train_, &validation_, Options("whole"), *world_, nullptr).ok());
  const RunOptions options = Options("killed");
  WatchingLog log([&](const StepRecord& record) {
    if (record.step == 8) throw Killed();
  });
  EXPECT_THROW((void)Train(killed.task, train_, &validation_, options, *world_, &log), Killed);
  std::filesystem::create_directories(directory_ / "killed/checkpoints/.step-000000008.staging");
  const auto report = Train(resumed.task, train_, &validation_, options, *world_, nullptr);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_TRUE(report->resumed);
  ExpectSameParameters(whole, resumed, 0);
}

TEST_F(TrainingRunTest, ADamagedCheckpointIsPassedOverForTheOneBefore) {
  Experiment whole("joint"), stopped("joint"), resumed("joint"), none("joint");
  ASSERT_TRUE(Train(whole.task, train_, &validation_, Options("whole"), *world_, nullptr).ok());
  std::atomic<bool> stop = false;
  RunOptions options = Options("damaged");
  options.stop = &stop;
  options.checkpoint_every = 4;
  WatchingLog log([&](const StepRecord& record) { stop = record.step == 7; });
  ASSERT_TRUE(Train(stopped.task, train_, &validation_, options, *world_, &log).ok());
  stop = false;
  const std::filesystem::path checkpoints = directory_ / "damaged/checkpoints";
  std::filesystem::resize_file(checkpoints / "step-000000007/state.safetensors", 100);
  WatchingLog second_log([](const StepRecord&) {});
  const auto second = Train(resumed.task, train_, &validation_, options, *world_, &second_log);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second_log.from, 4);
  EXPECT_THAT(second_log.events, ::testing::IsSupersetOf({"damaged", "resumed"}));
  ExpectSameParameters(whole, resumed, 0);
  // Nothing whole is left: an error, not a silent new beginning.
  for (const auto& entry : std::filesystem::directory_iterator(checkpoints)) {
    std::filesystem::remove(entry.path() / "state.json");
  }
  EXPECT_EQ(Train(none.task, train_, &validation_, options, *world_, nullptr).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(TrainingRunTest, PassesOfAStepAddUp) {
  Experiment one("joint"), many("joint");
  RunOptions options = Options("one");
  options.lora_dropout = 0;
  options.steps = 3;
  options.checkpoint_every = 0;
  options.adamw.clip = 0;
  // Noise is drawn by pass, and the balance loss is not linear in the rows.
  const RouterOptions plain{.compute = at::kFloat};
  for (Experiment* e : {&one, &many}) {
    e->router = *NewRouter(plain, e->world.base().config.num_layers, e->world.base().config.hidden_size, 3, 4);
    e->task.router = e->router.get();
    e->task.parameters = e->router->Parameters();
  }
  ASSERT_TRUE(Train(one.task, train_, nullptr, options, *world_, nullptr).ok());
  options.directory = directory_ / "many";
  options.tokens_per_pass = 12;
  ASSERT_TRUE(Train(many.task, train_, nullptr, options, *world_, nullptr).ok());
  ExpectSameParameters(one, many, 2e-3);  // Adam's steps of 1e-2 turn rounding of small gradients into parts of a step
}

TEST_F(TrainingRunTest, KeepsTheBestByValidation) {
  Experiment experiment("expert");
  RunOptions options = Options("best");
  options.steps = 40;
  options.evaluate_every = 5;
  options.schedule.peak = 5e-2;  // learns the training data by heart, and worse and worse on others
  const auto report = Train(experiment.task, train_, &validation_, options, *world_, nullptr);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_GT(report->best_step, 0);
  const auto again = EvaluateAll(experiment.task, validation_, 1000, *world_);
  ASSERT_TRUE(again.ok());
  EXPECT_DOUBLE_EQ(again->loss / static_cast<double>(again->targets), report->validation_loss);
  options.keep_best = false;
  options.restart = true;
  Experiment last("expert");
  const auto other = Train(last.task, train_, &validation_, options, *world_, nullptr);
  ASSERT_TRUE(other.ok());
  EXPECT_GE(other->validation_loss, report->validation_loss);
}

TEST_F(TrainingRunTest, RefusesTheCheckpointOfAnotherRun) {
  Experiment experiment("expert");
  RunOptions options = Options("foreign");
  std::atomic<bool> stop = true;
  options.stop = &stop;
  ASSERT_TRUE(Train(experiment.task, train_, nullptr, options, *world_, nullptr).ok());
  options.identity = "another";
  const auto refused = Train(experiment.task, train_, nullptr, options, *world_, nullptr);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(Message(refused.status())), ::testing::HasSubstr("--restart"));
  options.restart = true;
  EXPECT_TRUE(Train(experiment.task, train_, nullptr, options, *world_, nullptr).ok());
}

TEST_F(TrainingRunTest, SaysWhatIsMissing) {
  Experiment experiment("expert");
  EXPECT_EQ(Train(experiment.task, Dataset(), nullptr, Options("x"), *world_, nullptr).status().code(), absl::StatusCode::kInvalidArgument);
  const Dataset empty;
  EXPECT_EQ(Train(experiment.task, train_, &empty, Options("x"), *world_, nullptr).status().code(), absl::StatusCode::kInvalidArgument);
  experiment.task.parameters.clear();
  EXPECT_EQ(Train(experiment.task, train_, nullptr, Options("x"), *world_, nullptr).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace switchyard::trainer
