// The HTTP port: what its paths answer, and the live page in a real browser where there is one.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "server/live_page.h"
#include "tests/server/http_get.h"
#include "tests/server/server_fixture.h"

namespace switchyard {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class LivePageTest : public ServerTest {
 protected:
  void StartWithPage(const FakeModelRunner::Options& model = {}) {
    ServerOptions options = TestOptions();
    options.metrics = "127.0.0.1:0";
    Start(options, model);
  }
  nlohmann::json ReadStatus() const { return nlohmann::json::parse(HttpBody(HttpExchange(server_->metrics_port(), "/status.json"))); }
};

TEST_F(LivePageTest, StatusHoldsWhatHappened) {
  StartWithPage();
  ASSERT_TRUE(Generate(LongRequest("the op", 12)).status.ok());
  ASSERT_TRUE(EverythingIsFree());
  const nlohmann::json status = ReadStatus();
  EXPECT_EQ(status["model"]["layers"], 3);
  EXPECT_EQ(status["engine"]["generated_tokens"], 12);
  EXPECT_EQ(status["experts"].size(), 4u);
  EXPECT_TRUE(status["experts"][3]["is_zero"]);
  ASSERT_EQ(status["layers"].size(), 3u);
  for (const auto& layer : status["layers"]) {
    uint64_t chosen = 0;
    for (const auto& tokens : layer["tokens"]) chosen += tokens.get<uint64_t>();
    EXPECT_EQ(chosen, 2 * layer["rows"].get<uint64_t>());  // top-2
    EXPECT_GT(layer["rows"], 0);
    EXPECT_EQ(layer["pairs"], layer["rows"].get<uint64_t>() - 1);  // one sequence, prompt and answer
    EXPECT_LE(layer["flips"], layer["pairs"]);
  }
  EXPECT_EQ(status["generations"][0]["kind"], "snapshot");
  EXPECT_EQ(status["generations"][0]["generation"], info().generation);
  EXPECT_GE(status["generations"][0]["age_seconds"], 0);
  EXPECT_EQ(status["requests"][0], nlohmann::json({{"method", "Generate"}, {"code", "OK"}, {"count", 1}}));
  EXPECT_FALSE(status["draining"]);
}

TEST_F(LivePageTest, ThePageStaysReadableDuringADrain) {
  StartWithPage();
  EXPECT_TRUE(server_->Drain([] { return false; }).ok());
  EXPECT_TRUE(ReadStatus()["draining"]);
  EXPECT_THAT(HttpExchange(server_->metrics_port(), "/"), StartsWith("HTTP/1.1 200"));
}

TEST_F(LivePageTest, ThePageNeedsNothingFromOutsideAndItsPolicySaysSo) {
  StartWithPage();
  const std::string reply = HttpExchange(server_->metrics_port(), "/");
  EXPECT_THAT(reply,
              AllOf(HasSubstr("Content-Security-Policy: default-src 'none'; style-src 'sha256-"), HasSubstr("frame-ancestors 'none'"),
                    HasSubstr("X-Content-Type-Options: nosniff"), HasSubstr("Cache-Control: no-store")));
  EXPECT_THAT(reply, Not(HasSubstr("unsafe")));
  const std::string page = HttpBody(reply);
  EXPECT_EQ(page, kLivePageHtml);
  for (const char* outside : {"http://", "https://", "//cdn", "@import", " src=", "url(", "onclick", "innerHTML", "style=\""})
    EXPECT_THAT(page, Not(HasSubstr(outside)));
}

TEST_F(LivePageTest, OtherPathsAndMethodsAreRefused) {
  StartWithPage();
  const int port = server_->metrics_port();
  for (const char* path : {"/none", "/../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/metrics/", "/index.html"})
    EXPECT_THAT(HttpExchange(port, path), Not(StartsWith("HTTP/1.1 200"))) << path;
  EXPECT_THAT(HttpExchange(port, "/none"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(HttpExchange(port, "/metrics", "", "POST"), StartsWith("HTTP/1.1 405"));
  EXPECT_THAT(HttpExchange(port, "/metrics", "", "DELETE"), StartsWith("HTTP/1.1 405"));
  const std::string head = HttpExchange(port, "/metrics", "", "HEAD");
  EXPECT_THAT(head, StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(HttpBody(head), "");
  EXPECT_THAT(HttpExchange(port, "/metrics", "X-Long: " + std::string(100000, 'x') + "\r\n"), Not(StartsWith("HTTP/1.1 200")));
  EXPECT_THAT(HttpExchange(port, "/metrics"), StartsWith("HTTP/1.1 200"));  // and it lives
}

// ------------------------------------------------------------------------------------------------------------------ in a browser

std::string FindBrowser() {
  const char* path = std::getenv("PATH");
  std::string rest = path != nullptr ? path : "";
  for (const char* name : {"chromium", "chromium-browser", "google-chrome"}) {
    for (size_t begin = 0; begin <= rest.size();) {
      const size_t end = std::min(rest.find(':', begin), rest.size());
      const std::filesystem::path file = std::filesystem::path(rest.substr(begin, end - begin)) / name;
      std::error_code error;
      if (std::filesystem::exists(file, error)) return file.string();
      begin = end + 1;
    }
  }
  return "";
}

class BrowserTest : public LivePageTest {
 protected:
  void SetUp() override {
    browser_ = FindBrowser();
    if (browser_.empty()) GTEST_SKIP() << "no Chromium here: the live page is not looked at in a browser";
    std::string pattern = (std::filesystem::temp_directory_path() / "switchyard-page-XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
  }
  void TearDown() override {
    LivePageTest::TearDown();
    std::error_code error;
    std::filesystem::remove_all(directory_, error);
  }
  // Runs the browser on the page; what it printed, standard error included.
  std::string Browse(const std::string& arguments) const {
    const std::string command = "timeout 90 " + browser_ +
                                " --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars --user-data-dir=" +
                                (directory_ / "profile").string() + " --enable-logging=stderr --virtual-time-budget=9000 " + arguments +
                                " http://127.0.0.1:" + std::to_string(server_->metrics_port()) + "/ 2>&1";
    std::string output;
    FILE* pipe = popen(command.c_str(), "r");
    char buffer[4096];
    for (size_t n; (n = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) output.append(buffer, n);
    pclose(pipe);
    return output;
  }
  std::string browser_;
  std::filesystem::path directory_;
};

TEST_F(BrowserTest, TheFiguresAreShownAndThePolicyIsKept) {
  StartWithPage();
  ASSERT_TRUE(Generate(LongRequest("the op", 40)).status.ok());
  const std::string dom = Browse("--dump-dom");
  EXPECT_THAT(dom, HasSubstr(">serving</span>"));
  EXPECT_THAT(dom, HasSubstr("expert-0"));
  EXPECT_THAT(dom, HasSubstr("title=\"layer 2, zero: "));
  EXPECT_THAT(dom, Not(HasSubstr(": nothing routed\"")));  // as a cell says it; the script holds the words too
  EXPECT_THAT(dom, HasSubstr("mean entropy "));
  EXPECT_THAT(dom, ::testing::ContainsRegex(" · flips [0-9.]+ % · MaxVio [0-9]+\\.[0-9][0-9]</p>"));
  EXPECT_THAT(dom, HasSubstr(">MaxVio</th>"));
  EXPECT_THAT(dom, HasSubstr(info().generation.substr(0, 12)));
  EXPECT_THAT(dom, HasSubstr(">Generate</td>"));
  EXPECT_THAT(dom, Not(HasSubstr("Refused to ")));
  EXPECT_THAT(dom, Not(HasSubstr("Uncaught")));
}

TEST_F(BrowserTest, AServerWithTokensIsAskedForOne) {
  const std::filesystem::path tokens = directory_ / "tokens.json";
  std::ofstream(tokens) << R"({"tokens": []})";
  ServerOptions options = TestOptions();
  options.metrics = "127.0.0.1:0";
  options.gate.tokens = tokens.string();
  Start(options);
  const std::string dom = Browse("--dump-dom");
  EXPECT_THAT(dom, HasSubstr(">token needed</span>"));
  EXPECT_THAT(dom, HasSubstr("<section id=\"login\">"));
  EXPECT_THAT(dom, Not(HasSubstr(info().generation)));
}

// SWITCHYARD_SCREENSHOTS names a folder that keeps the pictures, for looking at them.
TEST_F(BrowserTest, ScreenshotsOfADeskAndAPhone) {
  FakeModelRunner::Options model;
  model.num_layers = 30;
  model.num_experts = 8;
  StartWithPage(model);
  ASSERT_TRUE(Generate(LongRequest("the op", 60)).status.ok());
  v1::ScoreResponse response;
  ASSERT_TRUE(Score(ScoreOfText("the op", {" a", " the"}), &response).ok());
  const char* keep = std::getenv("SWITCHYARD_SCREENSHOTS");
  const std::filesystem::path folder = keep != nullptr ? keep : directory_;
  for (const auto& [name, size] :
       {std::pair{"desk", "1280,1500"}, std::pair{"phone", "390,2400"}, std::pair{"dark", "1280,1500 --force-dark-mode"}}) {
    const std::filesystem::path file = folder / (std::string("live_page_") + name + ".png");
    const std::string said = Browse("--window-size=" + std::string(size) + " --screenshot=" + file.string());
    std::error_code error;
    EXPECT_GT(std::filesystem::file_size(file, error), 20'000u) << said;  // an empty page compresses to far less
  }
}

}  // namespace
}  // namespace switchyard
