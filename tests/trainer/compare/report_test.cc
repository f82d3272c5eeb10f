// What a comparison is written as: tables, JSON and pictures of one that is made by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/testing/files.h"
#include "trainer/compare/comparison_json.h"
#include "trainer/compare/plots.h"
#include "trainer/compare/summary.h"
#include "trainer/compare/svg.h"
#include "trainer/compare/tables.h"

namespace switchyard::trainer {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

RoutingReport Routing(int16_t favourite) {
  RouteRecord record;
  record.num_experts = 3;
  record.k = 1;
  record.zero_expert = 2;
  record.num_tasks = 2;
  record.tokens = {1, 2, 3, 4};
  record.sequences = {0, 0, 1, 1};
  record.tasks = {0, 0, 1, 1};
  record.layers = {{.experts = {0, favourite, 1, 2}, .weights = {1, 1, 1, 1}, .entropy = {}, .probabilities = {}}};
  return MakeRoutingReport(record);
}

ArtifactResult Artifact(int64_t right, int16_t favourite) {
  ArtifactResult artifact;
  for (auto& judge : artifact.accuracy) judge = {{right, 10}, {5, 10}};
  artifact.routing = Routing(favourite);
  artifact.timings.decode_seconds = {.p50 = 0.002, .p99 = 0.004};
  artifact.flops = {.base = 2e6, .experts = 1e6, .router = 5e5};
  return artifact;
}

Comparison Example() {
  Comparison comparison;
  comparison.base = "tiny <&> base";
  comparison.judged.assign(kJudgeCount, false);
  comparison.judged[kJudgeSum] = true;
  comparison.sets = {{"law", 10, {}}, {"code", 10, {{"code.jsonl", 3, "too long"}}}};
  MethodResult base{.name = "base",
                    .kind = "base",
                    .top_k = 0,
                    .experts = {"a", "b", "zero"},
                    .zero_expert = 2,
                    .artifacts = {Artifact(3, 0)},
                    .checkpoints = {}};
  base.artifacts.front().routing.reset();
  MethodResult one{.name = "one|1",
                   .kind = "linear",
                   .top_k = 1,
                   .experts = {"a", "b", "zero"},
                   .zero_expert = 2,
                   .artifacts = {Artifact(8, 0)},
                   .checkpoints = {}};
  one.checkpoints = Agreement{.same_set = 0.75, .same_best = 0.8, .mean_jaccard = std::nullopt};
  MethodResult seeds = one;
  seeds.name = "seeds";
  seeds.artifacts = {Artifact(6, 0), Artifact(8, 0), Artifact(10, 0)};
  seeds.checkpoints.reset();
  comparison.methods = {base, one, seeds};
  comparison.ablations = {{.name = "one|1", .items = {"seeds"}}};
  return comparison;
}

// Every element that opens is closed, in order.
bool WellFormed(const std::string& xml) {
  std::vector<std::string> open;
  for (size_t at = xml.find('<'); at != std::string::npos; at = xml.find('<', at + 1)) {
    const size_t end = xml.find('>', at);
    if (end == std::string::npos) return false;
    const std::string tag = xml.substr(at + 1, end - at - 1);
    if (tag.find('<') != std::string::npos) return false;
    if (tag.starts_with("/")) {
      if (open.empty() || open.back() != tag.substr(1)) return false;
      open.pop_back();
    } else if (!tag.ends_with("/")) {
      open.push_back(tag.substr(0, tag.find(' ')));
    }
  }
  return open.empty();
}

TEST(CompareReport, OneArtifactHasTheQuestionsIntervalSeveralHaveTheSeeds) {
  const Comparison comparison = Example();
  EXPECT_EQ(Show(AccuracyOf(comparison.methods[1], kJudgeSum, 0), 1, 100), "80.0 ± 22.7");
  EXPECT_EQ(Show(AccuracyOf(comparison.methods[2], kJudgeSum, 0), 1, 100), "80.0 ± 49.7");  // 4.303 x 0.2 / sqrt 3
  EXPECT_EQ(Show(AccuracyOf(comparison.methods[2], kJudgeSum, 1), 1, 100), "50.0 ± 0.0");
  EXPECT_EQ(Show(AccuracyOf(comparison.methods[1], kJudgeSum, 2), 1, 100), "65.0 ± 19.8");
}

TEST(CompareReport, AMethodWithoutRoutesIsInNoRoutingTable) {
  const Comparison comparison = Example();
  EXPECT_THAT(AccuracyTable(comparison), HasSubstr("| base | 30.0 ± "));
  EXPECT_THAT(CostTable(comparison), HasSubstr("| base | 3.5 | 1.00 | 0.50 | 2.00 | 4.00 |"));
  EXPECT_THAT(BalanceTable(comparison, true), Not(HasSubstr("| base |")));
  EXPECT_THAT(SpecialisationTable(comparison, true), Not(HasSubstr("| base |")));
  EXPECT_EQ(TaskPlot(comparison, comparison.methods[0]), "");
  EXPECT_EQ(LoadPlot(comparison.methods[0]), "");
}

TEST(CompareReport, TablesShowFiguresAndDashes) {
  const Comparison comparison = Example();
  const std::string balance = BalanceTable(comparison, true);
  EXPECT_THAT(balance, HasSubstr("| one\\|1 | 0.000 | 0.000 | – |"));  // no probabilities: no Gram figure
  EXPECT_THAT(balance, HasSubstr("| 0.750 | 0.800 | – |\n"));
  EXPECT_THAT(BalanceTable(comparison, false), Not(HasSubstr("consistency")));
  EXPECT_THAT(TaskTable(comparison),
              HasSubstr("| one\\|1 | a | 100.0 | 0.0 |\n| one\\|1 | b | 0.0 | 50.0 |\n| one\\|1 | zero | 0.0 | 50.0 |"));
  EXPECT_THAT(AblationTable(comparison), HasSubstr("| seeds | 65.0 (+0.0) |"));
}

TEST(CompareReport, JsonHasNullForWhatIsUndefined) {
  const auto json = nlohmann::json::parse(ComparisonJson(Example()));
  const auto& method = json["methods"][1];
  EXPECT_TRUE(method["artifacts"][0]["routing"]["with_zero"]["mean"]["gram_orthogonality"].is_null());
  EXPECT_NEAR(method["artifacts"][0]["routing"]["with_zero"]["mean"]["max_vio"], 0.5, 1e-12);
  EXPECT_EQ(method["artifacts"][0]["answers"]["sum"]["law"]["right"], 8);
  EXPECT_FALSE(method["artifacts"][0]["answers"].contains("pmi"));
  EXPECT_EQ(method["checkpoint_consistency"]["same_set"], 0.75);
  EXPECT_TRUE(method["checkpoint_consistency"]["mean_jaccard"].is_null());
  EXPECT_FALSE(json["methods"][0]["artifacts"][0].contains("routing"));
  EXPECT_EQ(json["ablations"][0]["impact"]["cv"]["absolute"], 0);
}

TEST(CompareReport, PicturesAreWellFormedAndShowEverything) {
  const Comparison comparison = Example();
  const std::string bars = AccuracyPlot(comparison);
  EXPECT_TRUE(WellFormed(bars));
  EXPECT_THAT(bars, HasSubstr("Accuracy on tiny &lt;&amp;&gt; base"));
  for (const char* text : {">law<", ">code<", ">average<", ">one|1<", ">seeds<"}) EXPECT_THAT(bars, HasSubstr(text));
  const std::string tasks = TaskPlot(comparison, comparison.methods[1]);
  EXPECT_TRUE(WellFormed(tasks));
  EXPECT_THAT(tasks, HasSubstr("a, law: 100.0 %"));
  const std::string load = LoadPlot(comparison.methods[1]);
  EXPECT_TRUE(WellFormed(load));
  EXPECT_THAT(load, HasSubstr("a, 0: 50.0 %"));
}

TEST(CompareReport, AnEmptyCellIsNotZero) {
  const HeatMap map{.title = "t",
                    .subtitle = "",
                    .row_axis = "",
                    .column_axis = "",
                    .rows = {"r"},
                    .columns = {"c", "d"},
                    .cells = {{std::nullopt, 0.0}}};
  EXPECT_THAT(DrawHeatMap(map), HasSubstr("r, c: no selection"));
  EXPECT_THAT(DrawHeatMap(map), HasSubstr("r, d: 0.0 %"));
}

TEST(CompareReport, ColoursRunFromWhiteToDarkAndTextIsEscaped) {
  EXPECT_EQ(HeatColour(0), "#f7fbff");
  EXPECT_EQ(HeatColour(1), "#08306b");
  EXPECT_EQ(HeatColour(7), HeatColour(1));
  EXPECT_NE(InkOn(1), InkOn(0));
  EXPECT_EQ(XmlEscaped("a<b & \"c\"\n"), "a&lt;b &amp; &quot;c&quot; ");
}

TEST(CompareReport, FilesAreWrittenUnderSafeNames) {
  const TempDir directory;
  const auto files = WriteComparison(Example(), directory.File(""));
  ASSERT_TRUE(files.ok()) << files.status();
  std::vector<std::string> names;
  for (const std::string& file : *files) names.push_back(std::filesystem::path(file).filename());
  EXPECT_THAT(names, ::testing::ElementsAre("comparison.md", "comparison.json", "accuracy.svg", "tasks-one_1.svg", "load-one_1.svg",
                                            "tasks-seeds.svg", "load-seeds.svg"));
  EXPECT_EQ(ReadFile(directory.File("comparison.md")), ComparisonMarkdown(Example()));
  EXPECT_EQ(WriteComparison(Example(), directory.File("missing")).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace switchyard::trainer
