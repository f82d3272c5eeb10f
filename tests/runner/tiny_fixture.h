// A temporary directory with a tiny base, two experts, the zero expert and a router, and the options to load them.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "engine/runner/runner_factory.h"
#include "tests/testing/tiny_model.h"

namespace switchyard::testing {

class TinyFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/switchyard_runner_XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    root_ = pattern;
    ASSERT_TRUE(WriteTinyBase(Path("base"), spec_).ok());
    ASSERT_TRUE(WriteTinyExpert(Path("law"), spec_, 3, 21).ok());
    ASSERT_TRUE(WriteTinyExpert(Path("code"), spec_, 5, 22).ok());
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  std::string Path(const std::string& name) const { return root_ + "/" + name; }

  RunnerOptions Options(const std::string& backend = "fast") const {
    RunnerOptions options;
    options.base_directory = Path("base");
    options.experts = {{"law", Path("law")}, {"zero", ""}, {"code", Path("code")}};
    options.backend = backend;
    options.threads = 2;
    options.kv_bytes = 1 << 20;
    options.kv_block_tokens = 8;
    return options;
  }

  // Options with a router of `top_k` over the same experts, written on the first call for that k.
  RunnerOptions RoutedOptions(int top_k, const std::string& backend = "fast") const {
    RunnerOptions options = Options(backend);
    options.router_directory = Path("router" + std::to_string(top_k));
    if (std::filesystem::exists(options.router_directory)) return options;
    TinyRouterSpec router;
    router.top_k = top_k;
    for (const RunnerOptions::Expert& expert : options.experts) router.experts.push_back({expert.name, expert.directory});
    const Status written = WriteTinyRouter(options.router_directory, spec_, options.base_directory, router);
    EXPECT_TRUE(written.ok()) << written;
    return options;
  }

  static LoadedRunner Load(const RunnerOptions& options) {
    auto loaded = LoadRunner(options);
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    return std::move(loaded).value();
  }

  const TinyModelSpec spec_;
  std::string root_;
};

}  // namespace switchyard::testing
