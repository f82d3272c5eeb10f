// The metrics page, over HTTP, against what happened and against docs/metrics.md.
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "tests/server/http_get.h"
#include "tests/server/server_fixture.h"

namespace switchyard {
namespace {

std::string Scrape(int port) { return HttpExchange(port, "/metrics"); }

class MetricsTest : public ServerTest {
 protected:
  void StartWithMetrics() {
    ServerOptions options = TestOptions();
    options.metrics = "127.0.0.1:0";
    Start(options);
  }
  // Series as printed, by name and labels.
  std::map<std::string, double> Values() const {
    std::map<std::string, double> values;
    std::istringstream lines(Scrape(server_->metrics_port()));
    for (std::string line; std::getline(lines, line);) {
      const size_t blank = line.rfind(' ');
      if (!line.starts_with("switchyard_") || blank == std::string::npos) continue;
      values[line.substr(0, blank)] = std::stod(line.substr(blank + 1));
    }
    return values;
  }
};

TEST_F(MetricsTest, CountsWhatHappened) {
  StartWithMetrics();
  ASSERT_GT(server_->metrics_port(), 0);
  EXPECT_FALSE(Values().contains("switchyard_route_zero_share{layer=\"0\"}"));  // nothing was routed yet
  ASSERT_TRUE(Generate(LongRequest("the op", 12)).status.ok());
  v1::ScoreResponse response;
  ASSERT_TRUE(Score(ScoreOfText("the op", {" a", " the"}), &response).ok());
  EXPECT_EQ(Score(ScoreOfText("the op", {}), &response).error_code(), grpc::INVALID_ARGUMENT);
  ASSERT_TRUE(EverythingIsFree());

  const auto values = Values();
  const auto value = [&](const std::string& name) {
    EXPECT_TRUE(values.contains(name)) << name;
    return values.contains(name) ? values.at(name) : -1;
  };
  EXPECT_EQ(value("switchyard_requests_total{method=\"Generate\",code=\"OK\"}"), 1);
  EXPECT_EQ(value("switchyard_requests_total{method=\"Score\",code=\"OK\"}"), 1);
  EXPECT_EQ(value("switchyard_requests_total{method=\"Score\",code=\"INVALID_ARGUMENT\"}"), 1);
  EXPECT_EQ(value("switchyard_request_duration_seconds_count{method=\"Score\"}"), 2);
  EXPECT_EQ(value("switchyard_time_to_first_token_seconds_count"), 1);
  EXPECT_EQ(value("switchyard_tokens_total{kind=\"generated\"}"), 12);
  EXPECT_EQ(value("switchyard_tokens_total{kind=\"scored\"}"), 3);
  EXPECT_EQ(value("switchyard_queued_tasks"), 0);
  EXPECT_EQ(value("switchyard_running_tasks"), 0);
  EXPECT_EQ(value("switchyard_kv_blocks{state=\"used\"}"), 0);
  EXPECT_EQ(value("switchyard_kv_blocks{state=\"cached\"}") + value("switchyard_kv_blocks{state=\"free\"}"), 64);
  EXPECT_EQ(value("switchyard_resident_bytes{part=\"router\"}"), 3);
  const double rows = value("switchyard_step_rows_total");
  double zero_share_sum = 0;
  for (const char* layer : {"0", "1", "2"}) {
    const std::string at = std::string("{layer=\"") + layer + "\"";
    EXPECT_EQ(value("switchyard_route_rows_total" + at + "}"), rows);
    EXPECT_EQ(value("switchyard_route_entropy_rows_total" + at + "}"), rows);
    double tokens = 0;
    for (const char* expert : {"expert-0", "expert-1", "expert-2", "zero"}) {
      tokens += value("switchyard_route_tokens_total" + at + ",expert=\"" + expert + "\"}");
    }
    EXPECT_EQ(tokens, 2 * rows);  // top-2
    const double zero = value("switchyard_route_weight_total" + at + ",expert=\"zero\"}");
    EXPECT_NEAR(value("switchyard_route_zero_share" + at + "}"), zero / rows, 1e-6);
    EXPECT_NEAR(value("switchyard_route_base_mass_total" + at + "}"), zero, 1e-4);  // the fake's weights sum to 1
    zero_share_sum += zero;
  }
  EXPECT_GT(zero_share_sum, 0);
}

// Both ways: no series without a line in the page, no line without a series.
TEST_F(MetricsTest, ThePageOfTheDocumentationIsComplete) {
  StartWithMetrics();
  ASSERT_TRUE(Generate(LongRequest("the op", 3)).status.ok());
  std::set<std::string> shown;
  std::istringstream lines(Scrape(server_->metrics_port()));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string hash, what, name, type;
    words >> hash >> what >> name >> type;
    if (hash == "#" && what == "TYPE" && name.starts_with("switchyard_")) shown.insert(name + " " + type);
  }
  std::ifstream file("docs/metrics.md");
  ASSERT_TRUE(file) << "run from the repository's root";
  const std::string page(std::istreambuf_iterator<char>(file), {});
  std::set<std::string> documented;
  const std::regex row("\\| `(switchyard_[a-z_]+)` \\| ([a-z]+) \\|");
  for (auto it = std::sregex_iterator(page.begin(), page.end(), row); it != std::sregex_iterator(); ++it) {
    documented.insert((*it)[1].str() + " " + (*it)[2].str());
  }
  EXPECT_EQ(shown, documented);
}

TEST(LatencyHistogram, CountsIntoCumulativeBuckets) {
  LatencyHistogram histogram;
  for (const double seconds : {0.0005, 0.001, 0.002, 100.0}) histogram.Observe(seconds);
  const LatencyHistogram::View view = histogram.view();
  EXPECT_EQ(view.cumulative[0], 2u);  // a value on a border belongs below it
  EXPECT_EQ(view.cumulative[1], 3u);
  EXPECT_EQ(view.cumulative.back(), 3u);
  EXPECT_EQ(view.count, 4u);
  EXPECT_NEAR(view.sum, 100.0035, 1e-3);
}

}  // namespace
}  // namespace switchyard
