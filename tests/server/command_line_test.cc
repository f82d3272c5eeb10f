#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "server/server_options.h"

namespace switchyard {
namespace {

ParsedCommandLine Parse(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "switchyard-server");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  return ParseCommandLine(static_cast<int>(argv.size()), argv.data());
}

class CommandLineTest : public ::testing::Test {
 protected:
  CommandLineTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "switchyard-server-XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
  }
  ~CommandLineTest() override { std::filesystem::remove_all(directory_); }
  std::string Config(const std::string& json) const {
    const std::string path = (directory_ / "config.json").string();
    std::ofstream(path) << json;
    return path;
  }
  std::filesystem::path directory_;
};

TEST_F(CommandLineTest, FlagsOverrideTheFile) {
  const std::string config = Config(R"({"base": "from-file", "threads": 3, "kv_mib": 9, "experts": [{"name": "old", "directory": "o"}]})");
  const auto parsed = Parse({"--config", config, "--base", "from-flag", "--expert", "law=a=b", "--expert", "code=c", "--zero", "none"});
  ASSERT_FALSE(parsed.exit_code.has_value());
  const RunnerOptions& runner = parsed.options.runner;
  EXPECT_EQ(runner.base_directory, "from-flag");
  EXPECT_EQ(runner.threads, 3);
  EXPECT_EQ(runner.kv_bytes, 9ll << 20);
  ASSERT_EQ(runner.experts.size(), 3u);
  EXPECT_EQ(runner.experts[0].name, "law");
  EXPECT_EQ(runner.experts[0].directory, "a=b");
  EXPECT_EQ(runner.experts[2].name, "none");
  EXPECT_EQ(runner.experts[2].directory, "");
}

TEST_F(CommandLineTest, EveryFlagReachesItsOption) {
  const auto parsed =
      Parse({"--base",          "b",      "--router",        "r",         "--listen",          "0.0.0.0:0", "--metrics", "",
             "--dtype",         "f32",    "--backend",       "reference", "--threads",         "2",         "--kv-mib",  "5",
             "--max-queue",     "6",      "--drain-seconds", "0.5",       "--tls-certificate", "c.crt",     "--tls-key", "c.key",
             "--tls-client-ca", "ca.crt", "--tokens",        "t.json"});
  ASSERT_FALSE(parsed.exit_code.has_value());
  const ServerOptions& o = parsed.options;
  EXPECT_EQ(o.runner.router_directory, "r");
  EXPECT_EQ(o.listen, "0.0.0.0:0");
  EXPECT_EQ(o.metrics, "");
  EXPECT_EQ(o.runner.dtype, "f32");
  EXPECT_EQ(o.runner.backend, "reference");
  EXPECT_EQ(o.runner.threads, 2);
  EXPECT_EQ(o.runner.kv_bytes, 5ll << 20);
  EXPECT_EQ(o.engine.max_queued_tasks, 6);
  EXPECT_EQ(o.drain_seconds, 0.5);
  EXPECT_EQ(o.tls.certificate, "c.crt");
  EXPECT_EQ(o.tls.key, "c.key");
  EXPECT_EQ(o.tls.client_ca, "ca.crt");
  EXPECT_EQ(o.gate.tokens, "t.json");
}

TEST_F(CommandLineTest, MistakesEndWithExitCodeTwo) {
  const std::vector<std::vector<std::string>> mistakes = {
      {},
      {"--no-such-flag"},
      {"--base", "b", "--threads", "-1"},
      {"--base", "b", "--threads", "many"},
      {"--base", "b", "--expert", "law"},
      {"--base", "b", "--expert", "=dir"},
      {"--base", "b", "--expert", "law=a", "--expert", "law=b"},
      {"--base", "b", "--dtype", "int3"},
      {"--base", "b", "--tls-key", "c.key"},
      {"--config", (directory_ / "absent.json").string()},
      {"--config", Config(R"({"base": "b", "bsae": "c"})")},
  };
  for (const auto& arguments : mistakes) {
    EXPECT_EQ(Parse(arguments).exit_code, 2) << ::testing::PrintToString(arguments);
  }
}

TEST_F(CommandLineTest, HashTokenPrintsAnEntryWithoutTheToken) {
  const auto hash = [](const std::string& input, const std::string& name) {
    std::istringstream in(input);
    std::streambuf* const before = std::cin.rdbuf(in.rdbuf());
    ::testing::internal::CaptureStdout();
    const auto parsed = Parse({"--hash-token", name});
    std::cin.rdbuf(before);
    return std::pair{parsed.exit_code, ::testing::internal::GetCapturedStdout()};
  };
  const auto [code, entry] = hash("a-token-of-no-server-12345\n", "alice");
  EXPECT_EQ(code, 0);
  EXPECT_THAT(entry, ::testing::HasSubstr("\"name\":\"alice\""));
  EXPECT_THAT(entry, ::testing::HasSubstr("2d6d66484158a054089222a5b2fef8622a39869f2f95d23a92099de3b4e38882"));
  EXPECT_THAT(entry, ::testing::Not(::testing::HasSubstr("a-token-of")));
  EXPECT_EQ(hash("short\n", "alice").first, 2);
  EXPECT_EQ(hash("a-token-of-no-server-12345\n", "not a name").first, 2);
}

TEST_F(CommandLineTest, HelpVersionAndPrintConfigEndWell) {
  EXPECT_EQ(Parse({"--help"}).exit_code, 0);
  EXPECT_EQ(Parse({"--version"}).exit_code, 0);
  ::testing::internal::CaptureStdout();
  EXPECT_EQ(Parse({"--base", "b", "--kv-mib", "7", "--print-config"}).exit_code, 0);
  EXPECT_THAT(::testing::internal::GetCapturedStdout(), ::testing::HasSubstr("\"kv_mib\": 7"));
}

}  // namespace
}  // namespace switchyard
