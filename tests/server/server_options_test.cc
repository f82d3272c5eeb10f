#include "server/server_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

namespace switchyard {
namespace {

using ::testing::HasSubstr;

Status Apply(const std::string& json, ServerOptions* options) { return ApplyConfig(json, "test.json", options); }

void ExpectRefused(const std::string& json, const std::vector<std::string>& words) {
  ServerOptions options;
  const Status status = Apply(json, &options);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << json;
  EXPECT_THAT(std::string(Message(status)), HasSubstr("test.json")) << json;
  for (const std::string& word : words) EXPECT_THAT(std::string(Message(status)), HasSubstr(word));
}

TEST(ServerOptions, ReadsWhatItPrints) {
  ServerOptions options;
  ASSERT_TRUE(Apply(R"({"base": "b", "experts": [{"name": "law", "directory": "d"}, {"name": "zero"}], "kv_mib": 64, "reflection": false,
                        "drain_seconds": 1.5, "listen": "[::]:0", "max_queued_tasks": 7,
                        "tenants": {"max_tenants": 5, "default": {"requests_per_second": 0.5}, "named": {"a": {"concurrent_requests": 2}}},
                        "health": "0.0.0.0:8503", "max_connection_age_seconds": 300,
                        "admin": "127.0.0.1:0", "artifact_root": "a", "state": "s.json", "state_policy": "serve", "artifact_memory_mib": 3, "artifact_disk_mib": 5, "max_experts": 9})",
                    &options)
                  .ok());
  EXPECT_EQ(options.runner.kv_bytes, 64ll << 20);
  EXPECT_EQ(options.runner.experts[1].name, "zero");
  EXPECT_EQ(options.runner.experts[1].directory, "");
  EXPECT_EQ(options.engine.max_queued_tasks, 7);
  EXPECT_EQ(options.gate.tenants.others.requests_per_second, 0.5);
  EXPECT_EQ(options.gate.tenants.named.at("a").concurrent_requests, 2);
  EXPECT_EQ(options.catalog.state_policy, StatePolicy::kServe);
  EXPECT_EQ(options.catalog.budget.memory_bytes, 3ll << 20);
  EXPECT_EQ(options.catalog.budget.disk_bytes, 5ll << 20);
  EXPECT_EQ(options.catalog.budget.max_experts, 9);
  ServerOptions again;
  ASSERT_TRUE(Apply(ConfigJson(options), &again).ok());
  EXPECT_EQ(ConfigJson(again), ConfigJson(options));
  EXPECT_NE(ConfigJson(again), ConfigJson(ServerOptions()));
}

TEST(ServerOptions, RefusesWhatItDoesNotKnowOrCannotUse) {
  ExpectRefused("{", {});
  ExpectRefused("[]", {"object"});
  ExpectRefused(R"({"bas": "x"})", {"unknown key \"bas\"", "base"});
  ExpectRefused(R"({"base": "x", "base": "y"})", {"base"});
  ExpectRefused(R"({"base": 3})", {"\"base\": expected text, found 3"});
  ExpectRefused(R"({"state_policy": "hope"})", {"strict", "serve"});
  ExpectRefused(R"({"max_routers": 0})", {"max_routers", "1 to"});
  ExpectRefused(R"({"threads": 1.5})", {"threads", "integer"});
  ExpectRefused(R"({"threads": -1})", {"threads", "0 to 1024"});
  ExpectRefused(R"({"threads": 18446744073709551615})", {"threads"});
  ExpectRefused(R"({"kv_mib": 0})", {"kv_mib"});
  ExpectRefused(R"({"reflection": 1})", {"reflection", "true or false"});
  ExpectRefused(R"({"drain_seconds": -1})", {"drain_seconds"});
  ExpectRefused(R"({"experts": [{"name": "a", "path": "d"}]})", {"experts"});
  ExpectRefused(R"({"experts": ["a"]})", {"experts"});
  ExpectRefused(R"({"log_requests": 1.5})", {"log_requests", "0 to 1"});
  ExpectRefused(R"({"tenants": []})", {"tenants"});
  ExpectRefused(R"({"tenants": {"default": {"requests": 1}}})", {"tenants", "requests_per_second"});
  ExpectRefused(R"({"tenants": {"named": {"a b": {}}}})", {"tenants"});
  ExpectRefused(R"({"tenants": {"metadata_key": "Tenant"}})", {"tenants"});
  ExpectRefused(R"({"tenants": {"default": {"concurrent_requests": 1.5}}})", {"tenants"});
  ExpectRefused(std::string(100000, '['), {});
}

TEST(ServerOptions, ValidationNamesTheFieldAndWhatWasFound) {
  ServerOptions good;
  good.runner.base_directory = "b";
  ASSERT_TRUE(ValidateOptions(good).ok());
  const auto refused = [&](auto change, const std::string& word) {
    ServerOptions options = good;
    change(&options);
    const Status status = ValidateOptions(options);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(Message(status)), HasSubstr(word));
  };
  refused([](ServerOptions* o) { o->runner.base_directory.clear(); }, "--base");
  refused([](ServerOptions* o) { o->listen = "127.0.0.1"; }, "listen: expected HOST:PORT");
  refused([](ServerOptions* o) { o->listen = "127.0.0.1:70000"; }, "70000");
  refused([](ServerOptions* o) { o->metrics = "x:-1"; }, "metrics");
  refused([](ServerOptions* o) { o->tls.key = "k"; }, "tls_certificate");
  refused([](ServerOptions* o) { o->admin = "127.0.0.1"; }, "admin: expected HOST:PORT");
  refused([](ServerOptions* o) { o->health = ":"; }, "health: expected HOST:PORT");
  refused([](ServerOptions* o) { o->admin = "0.0.0.0:8502"; }, "TLS is off");
  refused([](ServerOptions* o) { o->runner.dtype = "f64"; }, "f64");
  refused([](ServerOptions* o) { o->runner.backend = "cuda"; }, "cuda");
  refused([](ServerOptions* o) { o->runner.experts = {{"law", "a"}, {"law", "b"}}; }, "law");
}

// The cells of the table row of `key`, without blanks and backquotes.
std::vector<std::string> RowOf(const std::string& page, const std::string& key) {
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("| `" + key + "` |")) continue;
    std::vector<std::string> cells;
    std::istringstream row(line.substr(1));
    for (std::string cell; std::getline(row, cell, '|');) {
      std::erase(cell, '`');
      std::erase(cell, ' ');
      cells.push_back(cell);
    }
    return cells;
  }
  return {};
}

TEST(ServerOptions, TheOperationsPageHasEveryKeyWithItsDefault) {
  std::ifstream file("docs/operations.md");
  ASSERT_TRUE(file) << "run from the repository's root";
  const std::string page(std::istreambuf_iterator<char>(file), {});
  const auto defaults = nlohmann::ordered_json::parse(ConfigJson(ServerOptions()));
  for (const auto& [key, value] : defaults.items()) {
    const std::vector<std::string> cells = RowOf(page, key);
    ASSERT_GE(cells.size(), 4u) << key << " has no row";
    const bool bare = value.is_string() && !value.get<std::string>().empty();
    const std::string expected = key == "base" ? "required" : bare ? value.get<std::string>() : value.dump();
    EXPECT_EQ(cells[2], expected.ends_with(".0") ? expected.substr(0, expected.size() - 2) : expected) << key;
  }
}

}  // namespace
}  // namespace switchyard
