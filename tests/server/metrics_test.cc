// The metrics page, over HTTP, against what happened and against docs/metrics.md.
#include <ctime>
#include <fstream>
#include <future>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "tests/server/http_get.h"
#include "tests/server/server_fixture.h"
#include "tests/testing/certificates.h"
#include "tests/testing/fake_snapshot_builder.h"
#include "tests/testing/files.h"

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

// A server whose experts and routers come from a catalog of fake artifacts.
class CatalogMetricsTest : public MetricsTest {
 protected:
  void StartWithCatalog(ServerOptions options = TestOptions()) {
    WriteFakeExpert(dir_.File("law-1"), "law1", 100);
    WriteFakeExpert(dir_.File("code-1"), "code1", 200);
    WriteFakeExpert(dir_.File("law-2"), "law2", 100);
    WriteFakeRouter(dir_.File("router-1"), "r1", {{"law", "law1"}, {"code", "code1"}, {"zero", "zero"}});
    WriteFakeRouter(dir_.File("router-2"), "r2", {{"law", "law1"}, {"code", "code1"}, {"zero", "zero"}});
    runner_ = std::make_unique<FakeModelRunner>();
    builder_.like_ = runner_->snapshot()->info();
    engine_ = Engine::Create(options.engine, runner_.get()).value();
    model_.engine = engine_.get();
    CatalogOptions catalog;
    catalog.artifact_root = dir_.File("");
    catalog.budget.memory_bytes = 1000;
    CatalogContent initial;
    initial.experts = {{"law", "law-1", ""}, {"code", "code-1", ""}, {"zero", "", ""}};
    initial.routers = {{"one", "router-1", ""}};
    initial.stable = {"one", 0};
    catalog_ = Catalog::Create(catalog, &builder_, initial, [this](ServingSet set) { engine_->Publish(std::move(set)); }).value();
    divergence_ = std::make_unique<DivergenceWatch>(DivergenceOptions{}, engine_.get(), nullptr);
    options.metrics = "127.0.0.1:0";
    server_ = Server::Start(options, model_, {.base = 1, .kv = 4}, {catalog_.get(), divergence_.get(), nullptr}).value();
    channel_ = NewChannel();
    stub_ = v1::Inference::NewStub(channel_);
  }
  void TearDown() override {
    server_.reset();
    divergence_.reset();
    catalog_.reset();
    MetricsTest::TearDown();
  }
  Operation Do(std::vector<Change> changes, bool dry_run = false) {
    const auto id = catalog_->Submit({std::move(changes), {}, true, dry_run});
    EXPECT_TRUE(id.ok()) << id.status();
    return catalog_->Wait(id.value_or(0), std::chrono::steady_clock::now() + std::chrono::seconds(60)).value();
  }
  static Change Load(const std::string& name, const std::string& directory, bool replace = false,
                     ArtifactKind kind = ArtifactKind::kExpert) {
    return LoadChange{kind, name, directory, replace, {}};
  }

  TempDir dir_;
  FakeSnapshotBuilder builder_;
  std::unique_ptr<Catalog> catalog_;
  std::unique_ptr<DivergenceWatch> divergence_;
};

// A shadow beside every request: what it would have done is counted, and no answer names it.
TEST_F(CatalogMetricsTest, TellsWhatAShadowWouldHaveDone) {
  StartWithCatalog();
  ASSERT_EQ(Do({Load("next", "router-2", false, ArtifactKind::kRouter), RoleChange{RouterRole::kShadow, "next", 1}}).state,
            OperationState::kSucceeded);
  v1::ScoreResponse response;
  ASSERT_TRUE(Score(ScoreOfText("the op", {" a", " the"}), &response).ok());
  EXPECT_EQ(response.generations().router(), "r1");
  auto values = Values();
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!values.contains("switchyard_divergence_answers_total{role=\"shadow\"}") && std::chrono::steady_clock::now() < end)
    values = Values();
  EXPECT_EQ(values["switchyard_divergence_requests_total{role=\"shadow\",result=\"compared\"}"], 1);
  EXPECT_EQ(values["switchyard_divergence_answers_total{role=\"shadow\"}"], 1);
  EXPECT_GT(values["switchyard_divergence_decisions_total{role=\"shadow\",layer=\"0\"}"], 0);
  EXPECT_EQ(values["switchyard_automatic_rollbacks_total{role=\"shadow\"}"], 0);
  ASSERT_TRUE(Generate(LongRequest("the op", 3)).status.ok());
}

TEST_F(CatalogMetricsTest, TellsWhatIsServedAndWhatChanged) {
  StartWithCatalog();
  runner_->Hold();
  auto running = std::async(std::launch::async, [&] { return Generate(LongRequest("the op", 12)); });
  runner_->WaitUntilHeld();
  ASSERT_EQ(Do({Load("law", "law-2", true)}).state, OperationState::kSucceeded);
  ASSERT_EQ(Do({Load("next", "router-2", false, ArtifactKind::kRouter), RoleChange{RouterRole::kCanary, "next", 0.25}}).state,
            OperationState::kSucceeded);
  ASSERT_EQ(Do({Load("lost", "nowhere")}).state, OperationState::kFailed);
  ASSERT_EQ(Do({Load("more", "law-1")}, /*dry_run=*/true).state, OperationState::kSucceeded);

  const auto during = Values();
  const auto expect = [](const std::map<std::string, double>& values, const std::string& series, double value) {
    ASSERT_TRUE(values.contains("switchyard_" + series)) << series;
    EXPECT_EQ(values.at("switchyard_" + series), value) << series;
  };
  expect(during, "catalog_operations_total{kind=\"replace\",result=\"succeeded\"}", 1);
  expect(during, "catalog_operations_total{kind=\"several\",result=\"succeeded\"}", 1);
  expect(during, "catalog_operations_total{kind=\"load\",result=\"failed\"}", 1);
  expect(during, "catalog_operations_total{kind=\"dry_run\",result=\"succeeded\"}", 1);
  expect(during, "catalog_failures_total{step=\"plan\"}", 1);
  expect(during, "catalog_failures_total{step=\"publish\"}", 0);
  expect(during, "catalog_step_duration_seconds_count{step=\"plan\"}", 4);
  expect(during, "catalog_step_duration_seconds_count{step=\"publish\"}", 2);
  expect(during, "catalog_revision", 3);
  expect(during, "catalog_names{kind=\"router\"}", 2);
  expect(during, "catalog_names_limit{kind=\"expert\"}", 64);
  expect(during, "catalog_resident_bytes", 100 + 100 + 200 + 5 + 5);  // the old law as well
  expect(during, "catalog_budget_bytes", 1000);
  expect(during, "catalog_retired_snapshots", 1);
  expect(during, "catalog_retired_parts", 1);
  expect(during, "catalog_retired_bytes", 100);
  EXPECT_TRUE(during.contains("switchyard_catalog_oldest_retired_seconds"));
  expect(during, "catalog_freed_bytes_total", 0);
  expect(during, "leases{role=\"retired\"}", 1);
  expect(during, "leases{role=\"stable\"}", 0);
  expect(during, "role_share_ratio{role=\"canary\"}", 0.25);
  expect(during, "masked_experts{role=\"stable\"}", 1);  // the router was made with the old law
  expect(during, "served_generation_info{part=\"expert\",name=\"law\",generation=\"law2\"}", 1);
  expect(during, "served_generation_info{part=\"router\",name=\"router-2\",generation=\"r2\"}", 1);

  runner_->Resume();
  ASSERT_TRUE(running.get().status.ok());
  ASSERT_TRUE(EverythingIsFree());
  auto after = Values();
  for (const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
       (after["switchyard_catalog_freed_bytes_total"] < 100 || after["switchyard_leases{role=\"retired\"}"] > 0) &&
       std::chrono::steady_clock::now() < end;) {
    after = Values();  // the retire thread has its own time, and the figures of one scrape are not of one moment
  }
  expect(after, "catalog_freed_bytes_total", 100);
  expect(after, "catalog_retired_parts", 0);
  expect(after, "catalog_retired_snapshots", 0);
  EXPECT_FALSE(after.contains("switchyard_catalog_oldest_retired_seconds"));
  expect(after, "leases{role=\"retired\"}", 0);

  catalog_->Stop();
  expect(Values(), "catalog_revision", 3);  // readable during a drain
}

// Both ways: no series without a line in the page, no line without a series.
TEST_F(CatalogMetricsTest, ThePageOfTheDocumentationIsComplete) {
  const PemPair pair = TestAuthority("authority").Issue("server");  // valid for an hour
  ServerOptions options = TestOptions();
  options.tls.certificate = dir_.Write("server.pem", pair.certificate);
  options.tls.key = dir_.Write("server.key", pair.key);
  StartWithCatalog(options);
  EXPECT_NEAR(Values()["switchyard_tls_certificate_expiry_timestamp_seconds"], static_cast<double>(std::time(nullptr)) + 3600, 120);
  EXPECT_EQ(Values()["switchyard_tls_files_usable"], 1);
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
    if (!(*it)[1].str().starts_with("switchyard_trainer_")) documented.insert((*it)[1].str() + " " + (*it)[2].str());
  }
  EXPECT_THAT(shown, ::testing::ContainerEq(documented));
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
