#include "trainer/log/run_log.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "trainer/log/progress_line.h"

namespace switchyard::trainer {
namespace {

TEST(DurationTextTest, ReadsWell) {
  EXPECT_EQ(DurationText(-3), "0 s");
  EXPECT_EQ(DurationText(59.4), "59 s");
  EXPECT_EQ(DurationText(185), "3 min 05 s");
  EXPECT_EQ(DurationText(7800), "2 h 10 min");
}

TEST(ProgressLineTest, SaysWhatIsShownTheRateAndWhatIsLeft) {
  ProgressLine line("expert x", {"train/loss", "train/absent"});
  const StepRecord record{.step = 4, .total_steps = 10, .tokens = 100, .seconds = 2, .scalars = {{"train/other", 9}, {"train/loss", 1.25}}};
  EXPECT_EQ(line.Next(record), "expert x  step 4/10  loss 1.250  50 tokens/s  12 s left");
  EXPECT_DOUBLE_EQ(line.tokens_per_second(), 50);
}

TEST(RunLogTest, AppendsAJsonLineAStepAndAnEvent) {
  const std::filesystem::path directory = std::filesystem::temp_directory_path() / ("run_log_" + std::to_string(getpid()));
  std::filesystem::remove_all(directory);
  RunLog::Options options;
  options.directory = directory;
  options.progress = false;
  for (int run = 0; run < 2; ++run) {
    auto log = RunLog::Open(options);
    ASSERT_TRUE(log.ok()) << log.status();
    const StepRecord step{.step = 1 + run,
                          .total_steps = 2,
                          .tokens = 10,
                          .seconds = 0.5,
                          .scalars = {{"train/loss", std::numeric_limits<double>::quiet_NaN()}}};
    ASSERT_TRUE((*log)->Step(step).ok());
    ASSERT_TRUE((*log)->Event("validation", 1 + run, "good", {{"validation/loss", 0.25}}).ok());
    ASSERT_TRUE((*log)->Close().ok());
  }
  std::ifstream in(directory / "log.jsonl");
  std::vector<nlohmann::json> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::json::parse(line));
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0]["step"], 1);
  EXPECT_EQ(lines[0]["tokens_per_second"], 20);
  EXPECT_TRUE(lines[0]["train/loss"].is_null());
  EXPECT_EQ(lines[3]["event"], "validation");
  EXPECT_EQ(lines[3]["validation/loss"], 0.25);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory / "tensorboard"), std::filesystem::directory_iterator()), 2);
  std::filesystem::remove_all(directory);
}

// A run that was killed after step 3 and goes on from the checkpoint of step 2.
TEST(RunLogTest, WhatAKilledRunHadLoggedBeyondItsCheckpointIsCutOff) {
  const std::filesystem::path directory = std::filesystem::temp_directory_path() / ("run_log_cut_" + std::to_string(getpid()));
  std::filesystem::remove_all(directory);
  RunLog::Options options;
  options.directory = directory;
  options.progress = false;
  const auto lines = [&] {
    std::ifstream in(directory / "log.jsonl");
    std::string text;
    for (std::string line; std::getline(in, line);) {
      const auto json = nlohmann::json::parse(line);
      text += json.contains("event") ? json["event"].get<std::string>() + " " : std::to_string(json["step"].get<int>()) + " ";
    }
    return text;
  };
  {
    auto log = RunLog::Open(options);
    ASSERT_TRUE(log.ok()) << log.status();
    ASSERT_TRUE((*log)->Event("data", 0, "much", {}).ok());
    ASSERT_TRUE((*log)->GoOnFrom(0).ok());
    for (int step = 1; step <= 3; ++step) ASSERT_TRUE((*log)->Step({.step = step, .total_steps = 4}).ok());
    ASSERT_TRUE((*log)->Event("validation", 3, "good", {}).ok());
  }
  EXPECT_EQ(lines(), "data 1 2 3 validation ");
  std::ofstream(directory / "log.jsonl", std::ios::app) << "{\"step\": 4, \"torn";
  auto log = RunLog::Open(options);
  ASSERT_TRUE(log.ok()) << log.status();
  ASSERT_TRUE((*log)->GoOnFrom(2).ok());
  EXPECT_EQ(lines(), "data 1 2 ");
  ASSERT_TRUE((*log)->Event("resumed", 2, "on", {}).ok());
  ASSERT_TRUE((*log)->Step({.step = 3, .total_steps = 4}).ok());
  EXPECT_EQ(lines(), "data 1 2 resumed 3 ");
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace switchyard::trainer
