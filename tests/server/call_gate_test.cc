// What is asked of a call before it begins and what is written when it ends: tokens, tenants, ids, traces, the longest time, over real
// calls.
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "engine/artifact/sha256.h"
#include "server/snapshot_choice.h"
#include "tests/server/http_get.h"
#include "tests/server/server_fixture.h"

namespace switchyard {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kAlice[] = "alice-token-0123456789abcdef", kProm[] = "prometheus-token-0123456789ab",
               kGateway[] = "gateway-token-0123456789abcd";
constexpr char kSecretPrompt[] = "the op";

std::string TokenLine(const std::string& name, const std::string& token, const std::string& roles, const std::string& tenant) {
  return R"({"name": ")" + name + R"(", "sha256": ")" + Sha256Hex(token) + R"(", "roles": [)" + roles + R"(], "tenant": ")" + tenant +
         R"("})";
}

class CallGateTest : public ServerTest {
 protected:
  CallGateTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "switchyard-gate-XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
  }
  ~CallGateTest() override { std::filesystem::remove_all(directory_); }

  std::string Tokens() const {
    WriteTokens(TokenLine("alice", kAlice, R"("infer")", "team-a") + "," + TokenLine("prometheus", kProm, R"("metrics")", "ops") + "," +
                TokenLine("gateway", kGateway, R"("infer")", "*"));
    return (directory_ / "tokens.json").string();
  }
  void WriteTokens(const std::string& entries) const {
    std::ofstream(directory_ / "next.json") << R"({"tokens": [)" << entries << "]}";
    std::filesystem::rename(directory_ / "next.json", directory_ / "tokens.json");
  }
  struct Outcome {
    grpc::Status status;
    std::map<std::string, std::string> trailing;
  };
  // One Score of two continuations with these headers.
  Outcome Call(const std::vector<std::pair<std::string, std::string>>& headers) {
    grpc::ClientContext context;
    for (const auto& [key, value] : headers) context.AddMetadata(key, value);
    v1::ScoreResponse response;
    Outcome outcome{stub_->Score(&context, ScoreOfText(kSecretPrompt, {" a", " the"}), &response), {}};
    for (const auto& [key, value] : context.GetServerTrailingMetadata())
      outcome.trailing[std::string(key.data(), key.size())] = std::string(value.data(), value.size());
    return outcome;
  }
  Outcome CallAs(const std::string& token, std::vector<std::pair<std::string, std::string>> headers = {}) {
    headers.emplace_back("authorization", "Bearer " + token);
    return Call(headers);
  }
  // Runs `work` and ends the server; what was logged meanwhile, and its "request" lines.
  template <typename Work>
  std::string Logged(Work work, std::vector<nlohmann::json>* requests = nullptr) {
    ::testing::internal::CaptureStderr();
    work();
    stub_.reset();
    channel_.reset();
    server_.reset();
    const std::string text = ::testing::internal::GetCapturedStderr();
    std::istringstream lines(text);
    for (std::string line; requests != nullptr && std::getline(lines, line);) {
      const auto json = nlohmann::json::parse(line, nullptr, false);
      if (json.is_object() && json.value("event", "") == "request") requests->push_back(json);
    }
    return text;
  }

  std::filesystem::path directory_;
};

// The caller's key decides, whatever the request's own id; the same key always the same way.
TEST_F(CallGateTest, TheRequestKeyChoosesBetweenStableAndCanary) {
  Start();
  SnapshotInfo canary = info();
  canary.generation = "generation-2";
  engine_->Publish({.stable = snapshot_, .canary = std::make_shared<FakeSnapshot>(canary), .canary_share = 0.5});
  std::set<std::string> answered;
  for (int i = 0; i < 20; ++i) {
    const std::string key = "user-" + std::to_string(i);
    const std::string expected = KeyPosition(key) < 0.5 ? "generation-2" : "generation-1";
    v1::ScoreRequest request = ScoreOfText(kSecretPrompt, {" a", " the"});
    request.set_id("id-" + std::to_string(i * 7));
    grpc::ClientContext context;
    context.AddMetadata("switchyard-request-key", key);
    v1::ScoreResponse response;
    ASSERT_TRUE(stub_->Score(&context, request, &response).ok());
    EXPECT_EQ(response.generations().snapshot(), expected) << key;
    v1::GenerateRequest generate = LongRequest("the op", 2);
    grpc::ClientContext second;
    second.AddMetadata("switchyard-request-key", key);
    EXPECT_EQ(Generate(generate, &second).finish.generations().snapshot(), expected) << key;
    answered.insert(expected);
  }
  EXPECT_EQ(answered.size(), 2u);
}

TEST_F(CallGateTest, EveryMethodWantsATokenWithTheRole) {
  ServerOptions options = TestOptions();
  options.gate.tokens = Tokens();
  Start(options);
  EXPECT_EQ(Call({}).status.error_code(), grpc::UNAUTHENTICATED);
  EXPECT_EQ(CallAs("somebody-elses-token").status.error_code(), grpc::UNAUTHENTICATED);
  EXPECT_EQ(Call({{"authorization", std::string("Basic ") + kAlice}}).status.error_code(), grpc::UNAUTHENTICATED);
  EXPECT_EQ(CallAs(kAlice, {{"authorization", std::string("Bearer ") + kAlice}}).status.error_code(), grpc::UNAUTHENTICATED);  // twice
  const grpc::Status role = CallAs(kProm).status;
  EXPECT_EQ(role.error_code(), grpc::PERMISSION_DENIED);
  EXPECT_THAT(role.error_message(), AllOf(HasSubstr("prometheus"), HasSubstr("infer"), HasSubstr("metrics")));
  EXPECT_TRUE(CallAs(kAlice).status.ok());

  EXPECT_EQ(Generate(LongRequest("abc", 2)).status.error_code(), grpc::UNAUTHENTICATED);
  v1::RouteRequest route;
  route.set_text("abc");
  v1::RouteResponse routed;
  EXPECT_EQ(Route(route, &routed).error_code(), grpc::UNAUTHENTICATED);
  grpc::ClientContext model_context, stream_context;
  v1::GetModelResponse model;
  EXPECT_EQ(stub_->GetModel(&model_context, {}, &model).error_code(), grpc::UNAUTHENTICATED);
  auto stream = stub_->ScoreStream(&stream_context);
  v1::ScoreResponse response;
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(stream->Finish().error_code(), grpc::UNAUTHENTICATED);
  grpc::ClientContext allowed;
  allowed.AddMetadata("authorization", std::string("Bearer ") + kAlice);
  EXPECT_TRUE(Generate(LongRequest("abc", 2), &allowed).status.ok());
}

TEST_F(CallGateTest, AWithdrawnTokenEndsWithoutRestart) {
  ServerOptions options = TestOptions();
  options.gate.tokens = Tokens();
  options.tls.reload_seconds = 1;
  Start(options);
  ASSERT_TRUE(CallAs(kAlice).status.ok());
  WriteTokens(TokenLine("bob", "bobs-token-0123456789abcdef", R"("infer")", "bob"));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (CallAs(kAlice).status.ok() && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  EXPECT_EQ(CallAs(kAlice).status.error_code(), grpc::UNAUTHENTICATED);
  EXPECT_TRUE(CallAs("bobs-token-0123456789abcdef").status.ok());
}

TEST_F(CallGateTest, AMissingTokenFileStopsTheStart) {
  ServerOptions options = TestOptions();
  Start(options);  // gives the engine
  options.gate.tokens = (directory_ / "none.json").string();
  const auto refused = Server::Start(options, model_, {});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kNotFound);
}

TEST_F(CallGateTest, TenantsOverTheirLimitAreToldWhenToComeBack) {
  ServerOptions options = TestOptions();
  options.gate.tenants.others = {0.001, 2, 0, 0};
  Start(options);
  EXPECT_TRUE(Call({{"switchyard-tenant", "a"}}).status.ok());
  EXPECT_TRUE(Call({{"switchyard-tenant", "a"}}).status.ok());
  const Outcome refused = Call({{"switchyard-tenant", "a"}});
  EXPECT_EQ(refused.status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_THAT(refused.status.error_message(), AllOf(HasSubstr("tenant a"), HasSubstr("try again in")));
  ASSERT_TRUE(refused.trailing.contains("retry-after-ms"));
  EXPECT_GT(std::stol(refused.trailing.at("retry-after-ms")), 900'000);
  EXPECT_THAT(refused.status.error_details(), HasSubstr("type.googleapis.com/google.rpc.RetryInfo"));
  EXPECT_TRUE(Call({{"switchyard-tenant", "b"}}).status.ok());
  EXPECT_EQ(Call({{"switchyard-tenant", "a b"}}).status.error_code(), grpc::INVALID_ARGUMENT);
}

TEST_F(CallGateTest, ATokenSaysItsTenantUnlessItSpeaksForOthers) {
  ServerOptions options = TestOptions();
  options.gate.tokens = Tokens();
  options.gate.tenants.others = {0.001, 1, 0, 0};
  Start(options);
  EXPECT_TRUE(CallAs(kAlice, {{"switchyard-tenant", "x"}}).status.ok());
  EXPECT_EQ(CallAs(kAlice, {{"switchyard-tenant", "y"}}).status.error_code(), grpc::RESOURCE_EXHAUSTED);  // still team-a
  EXPECT_TRUE(CallAs(kGateway, {{"switchyard-tenant", "x"}}).status.ok());
  EXPECT_TRUE(CallAs(kGateway, {{"switchyard-tenant", "y"}}).status.ok());
  EXPECT_EQ(CallAs(kGateway, {{"switchyard-tenant", "team-a"}}).status.error_code(), grpc::RESOURCE_EXHAUSTED);
}

TEST_F(CallGateTest, EachQuestionOfAStreamCountsAndIsRefusedInItsOwnReply) {
  ServerOptions options = TestOptions();
  options.gate.tenants.others = {0.001, 2, 1, 0};
  Start(options);
  grpc::ClientContext context;
  auto stream = stub_->ScoreStream(&context);
  int answered = 0, refused = 0;
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(stream->Write(ScoreOfText("the", {" a"})));
  stream->WritesDone();
  for (v1::ScoreResponse response; stream->Read(&response);) {
    if (!response.has_error()) ++answered;
    if (response.error().code() == grpc::RESOURCE_EXHAUSTED) ++refused;
  }
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(answered, 2);
  EXPECT_EQ(refused, 2);
}

TEST_F(CallGateTest, CallsAtOnceAreBoundedAndLeaveWhenTheyEnd) {
  ServerOptions options = TestOptions();
  options.gate.tenants.others = {0, 0, 1, 0};
  Start(options);
  runner_->Hold();
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, LongRequest("abc", 5));
  runner_->WaitUntilHeld();
  EXPECT_EQ(Call({}).status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Call({{"switchyard-tenant", "x/"}}).status.error_code() == grpc::INVALID_ARGUMENT);
  runner_->Resume();
  for (v1::GenerateResponse piece; reader->Read(&piece);) {
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_TRUE(Call({}).status.ok());
}

TEST_F(CallGateTest, NoRequestTakesLongerThanTheLongestTime) {
  ServerOptions options = TestOptions();
  options.gate.max_request_seconds = 0.05;
  Start(options);
  runner_->Hold();
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, LongRequest("abc", 150));
  runner_->WaitUntilHeld();
  const auto over = std::chrono::steady_clock::now() + std::chrono::milliseconds(60);
  while (std::chrono::steady_clock::now() < over) std::this_thread::yield();
  runner_->Resume();
  for (v1::GenerateResponse piece; reader->Read(&piece);) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::DEADLINE_EXCEEDED);
}

TEST_F(CallGateTest, IdsAndTracesComeBackAndStandInTheLog) {
  ServerOptions options = TestOptions();
  options.gate.log_requests = 1;
  Start(options);
  constexpr char kTrace[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  std::vector<nlohmann::json> lines;
  Outcome given, made;
  Logged(
      [&] {
        given = Call({{"switchyard-request-id", "q-17"}, {"traceparent", kTrace}, {"switchyard-tenant", "team-a"}});
        made = Call({{"switchyard-request-id", "not an id"}, {"traceparent", "junk"}});
      },
      &lines);
  EXPECT_EQ(given.trailing["switchyard-request-id"], "q-17");
  EXPECT_EQ(given.trailing["traceparent"], kTrace);
  EXPECT_EQ(made.trailing["switchyard-request-id"].size(), 16u);
  EXPECT_FALSE(made.trailing.contains("traceparent"));
  ASSERT_EQ(lines.size(), 2u);
  const nlohmann::json& line = lines[0]["id"] == "q-17" ? lines[0] : lines[1];
  EXPECT_EQ(line["method"], "Score");
  EXPECT_EQ(line["code"], "OK");
  EXPECT_EQ(line["tenant"], "team-a");
  EXPECT_EQ(line["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
  EXPECT_GT(line["prompt_tokens"], 0);
  EXPECT_GT(line["total_ms"], 0);
  EXPECT_THAT(line["generations"], Contains(info().generation));
  EXPECT_THAT(std::string(line["peer"]), StartsWith("ipv4:127.0.0.1"));
}

TEST_F(CallGateTest, NoTokenAndNoPromptIsEverLogged) {
  ServerOptions options = TestOptions();
  options.gate.log_requests = 1;
  options.gate.tokens = Tokens();
  Start(options);
  std::vector<nlohmann::json> lines;
  const std::string log = Logged(
      [&] {
        CallAs(kAlice);
        CallAs(kProm);
        CallAs("a-token-nobody-knows-of-1234");
        Call({{"authorization", kAlice}});
        grpc::ClientContext context;
        context.AddMetadata("authorization", std::string("Bearer ") + kAlice);
        v1::ScoreResponse response;
        v1::ScoreRequest bad = ScoreOfText(kSecretPrompt, {" a"});
        bad.mutable_routing()->set_forced_expert(kSecretPrompt);  // the error quotes it to the caller
        EXPECT_FALSE(stub_->Score(&context, bad, &response).ok());
      },
      &lines);
  EXPECT_EQ(lines.size(), 5u);
  for (const std::string& secret :
       {std::string(kAlice), std::string(kProm), std::string("a-token-nobody"), std::string(kSecretPrompt), Sha256Hex(kAlice)})
    EXPECT_THAT(log, Not(HasSubstr(secret)));
  EXPECT_THAT(log, HasSubstr("\"token\":\"alice\""));
}

TEST_F(CallGateTest, TheShareOfLoggedRequestsIsHonoured) {
  ServerOptions options = TestOptions();
  options.gate.log_requests = 0;
  Start(options);
  std::vector<nlohmann::json> lines;
  Logged([&] { EXPECT_TRUE(Call({}).status.ok()); }, &lines);
  EXPECT_TRUE(lines.empty());
}

TEST_F(CallGateTest, TheHttpPortWantsTheMetricsRole) {
  ServerOptions options = TestOptions();
  options.metrics = "127.0.0.1:0";
  options.gate.tokens = Tokens();
  options.gate.tenants.named["team-a"] = {};
  Start(options);
  ASSERT_TRUE(CallAs(kAlice).status.ok());
  const auto get = [&](const std::string& path, const std::string& token) {
    return HttpExchange(server_->metrics_port(), path, token.empty() ? "" : "Authorization: Bearer " + token + "\r\n");
  };
  for (const char* path : {"/metrics", "/status.json"}) {
    EXPECT_THAT(get(path, ""), AllOf(StartsWith("HTTP/1.1 401"), HasSubstr("WWW-Authenticate: Bearer"))) << path;
    EXPECT_THAT(get(path, "wrong-token-0123456789abcdef"), StartsWith("HTTP/1.1 401")) << path;
    EXPECT_THAT(get(path, kAlice), StartsWith("HTTP/1.1 403")) << path;
    EXPECT_THAT(get(path, kProm), StartsWith("HTTP/1.1 200")) << path;
  }
  const std::string metrics = get("/metrics", kProm);
  EXPECT_THAT(metrics, HasSubstr("switchyard_auth_refused_total{reason=\"missing\"} 2"));
  EXPECT_THAT(metrics, HasSubstr("switchyard_tenant_requests_total{tenant=\"team-a\",result=\"admitted\"} 1"));
  EXPECT_THAT(get("/livez", ""), AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("ok")));
  EXPECT_THAT(get("/", ""), StartsWith("HTTP/1.1 200"));
}

}  // namespace
}  // namespace switchyard
