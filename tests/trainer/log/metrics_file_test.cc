#include "trainer/log/metrics_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>

#include "tests/testing/fake_clock.h"
#include "tests/testing/files.h"

namespace switchyard::trainer {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Read(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::pair<std::string, double>> EveryScalar() {
  return {{"train/loss", 1.5},          {"train/accuracy", 0.25},     {"train/learning_rate", 1e-3}, {"train/gradient_norm", 2},
          {"train/router_loss", 0.125}, {"routing/max_vio", 0.5},     {"routing/collapse", 0},       {"routing/entropy", 1},
          {"routing/share/law", 0.75},  {"routing/share/a\"b", 0.25}, {"train/unheard_of", 7},       {"train/router_loss/roma", 0.0625}};
}

TEST(MetricsFileTest, WritesStepsAndScalars) {
  TempDir dir;
  const std::string path = dir.File("run.prom");
  MetricsFile file(path, "router demo");
  file.Step(7, 10, 0.5, 100, 2);  // of a run that was resumed
  file.Step(8, 10, 1, 50, 1);
  file.Scalars(EveryScalar());
  file.Scalars({{"validation/loss", 2.5}, {"validation/routing/max_vio", 3}});
  ASSERT_TRUE(file.Write(true).ok());
  const std::string text = Read(path);
  for (const char* line :
       {"switchyard_trainer_step{run=\"router demo\"} 8\n", "switchyard_trainer_steps_total{run=\"router demo\"} 2\n",
        "switchyard_trainer_tokens_total{run=\"router demo\"} 150\n", "switchyard_trainer_step_seconds_total{run=\"router demo\"} 3\n",
        "switchyard_trainer_loss_nats{run=\"router demo\",set=\"train\"} 1.5\n",
        "switchyard_trainer_loss_nats{run=\"router demo\",set=\"validation\"} 2.5\n",
        "switchyard_trainer_routing_max_violation_ratio{run=\"router demo\",set=\"validation\"} 3\n",
        "switchyard_trainer_routing_load_share_ratio{run=\"router demo\",set=\"train\",expert=\"law\"} 0.75\n", "expert=\"a\\\"b\"} 0.25\n",
        "switchyard_trainer_router_loss_part{run=\"router demo\",set=\"train\",loss=\"roma\"} 0.0625\n",
        "# TYPE switchyard_trainer_tokens_total counter\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  EXPECT_THAT(text, Not(HasSubstr("unheard")));
  EXPECT_FALSE(std::filesystem::exists(path + ".tmp"));
}

TEST(MetricsFileTest, WritesNowAndThenUnlessTold) {
  TempDir dir;
  const std::string path = dir.File("run.prom");
  FakeClock clock;
  MetricsFile file(path, "r", &clock);
  file.Step(1, 10, 0, 1, 1);
  ASSERT_TRUE(file.Write(false).ok());
  file.Step(2, 10, 0, 1, 1);
  ASSERT_TRUE(file.Write(false).ok());
  EXPECT_THAT(Read(path), HasSubstr("switchyard_trainer_step{run=\"r\"} 1\n"));
  clock.AdvanceMs(5000);
  ASSERT_TRUE(file.Write(false).ok());
  EXPECT_THAT(Read(path), HasSubstr("switchyard_trainer_step{run=\"r\"} 2\n"));
  file.Step(3, 10, 0, 1, 1);
  ASSERT_TRUE(file.Write(true).ok());
  EXPECT_THAT(Read(path), HasSubstr("switchyard_trainer_step{run=\"r\"} 3\n"));
  EXPECT_EQ(MetricsFile(dir.File("none/run.prom"), "r").Write(true).code(), absl::StatusCode::kFailedPrecondition);
}

// Both ways: no metric without a line in the page, no line without a metric.
TEST(MetricsFileTest, ThePageOfTheDocumentationIsComplete) {
  TempDir dir;
  const std::string path = dir.File("run.prom");
  MetricsFile file(path, "r");
  file.Scalars(EveryScalar());
  ASSERT_TRUE(file.Write(true).ok());
  const auto names = [](const std::string& text, const std::regex& pattern) {
    std::set<std::string> found;
    for (auto it = std::sregex_iterator(text.begin(), text.end(), pattern); it != std::sregex_iterator(); ++it)
      found.insert((*it)[1].str() + " " + (*it)[2].str());
    return found;
  };
  const std::string page = Read("docs/metrics.md");
  ASSERT_FALSE(page.empty()) << "run from the repository's root";
  EXPECT_EQ(names(Read(path), std::regex("# TYPE (switchyard_trainer_[a-z_]+) ([a-z]+)")),
            names(page, std::regex("\\| `(switchyard_trainer_[a-z_]+)` \\| ([a-z]+) \\|")));
}

}  // namespace
}  // namespace switchyard::trainer
