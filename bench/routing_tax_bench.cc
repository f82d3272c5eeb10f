// The routing tax on a whole model: steps through learned routing against the same weights run dense (base only), at decode of 1, 8 and 32 rows and
// a 512-token prefill; beside it the two ways others mix LoRA experts. One process, interleaved rounds, paired ratios.

#include <CLI/CLI.hpp>

#include <cstdio>
#include <filesystem>
#include <map>
#include <random>

#include "bench/bench_util.h"
#include "engine/artifact/fixtures.h"
#include "engine/runner/runner_factory.h"

namespace switchyard::bench {
namespace {

[[noreturn]] void Die(const Status& status) {
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

// One step prepared for repeated runs: `segments` runs of `rows_each` new tokens behind `history` tokens already in the cache.
class PreparedStep {
 public:
  PreparedStep(ModelRunner& runner, int segments, int rows_each, int history, RoutingPolicy::Mode mode) : runner_(runner) {
    policy_.mode = mode;
    std::mt19937_64 rng(7);
    const auto snapshot = runner.snapshot();
    step_.snapshot = snapshot;
    int32_t next_slot = 0;
    slots_.resize(segments);
    Step fill;   // writes the history's keys and values
    fill.snapshot = snapshot;
    for (int s = 0; s < segments; ++s) {
      slots_[s].resize(history + rows_each);
      for (int32_t& slot : slots_[s]) slot = next_slot++;
      AddSegment(fill, std::span(slots_[s]).first(history), history, rng);
      AddSegment(step_, slots_[s], rows_each, rng);
    }
    if (history > 0) Run(fill);
  }
  void Run() { Run(step_); }

 private:
  void AddSegment(Step& step, std::span<const int32_t> slots, int rows, std::mt19937_64& rng) {
    if (rows == 0) return;
    const auto begin = static_cast<int32_t>(step.tokens.size());
    for (int i = 0; i < rows; ++i) step.tokens.push_back(static_cast<TokenId>(rng() % step.snapshot->info().vocab_size));
    const auto end = static_cast<int32_t>(step.tokens.size());
    step.segments.push_back({begin, end, slots, &policy_, false});
    step.logprobs.push_back({end - 1, 1});
  }
  void Run(const Step& step) {
    auto result = runner_.Run(step);
    if (!result.ok()) Die(result.status());
  }

  ModelRunner& runner_;
  RoutingPolicy policy_;
  Step step_;
  std::vector<std::vector<int32_t>> slots_;
};

struct Shape {
  std::string name;
  int segments, rows_each, history;
};

int Main(int argc, char** argv) {
  CLI::App app{"The routing tax: learned routing against the dense base on the same weights"};
  std::string base, json, work = "bench-fixtures", router_kind = "linear";
  int rounds = 9, rank = 16, repeat = 1;
  bool baselines = true;
  app.add_option("--base", base, "Hugging Face directory")->required();
  app.add_option("--work", work, "where seeded experts and routers are written")->capture_default_str();
  app.add_option("--router-kind", router_kind, "linear | dense2moe_mlp")->capture_default_str();
  app.add_option("--rank", rank)->capture_default_str();
  app.add_option("--rounds", rounds)->capture_default_str();
  app.add_option("--repeat", repeat, "steps timed together")->capture_default_str();
  app.add_flag("--baselines,!--no-baselines", baselines, "also naive per-expert blocks and MixLoRA-style sharing");
  app.add_option("--json", json);
  CLI11_PARSE(app, argc, argv);

  const std::vector<Shape> shapes = {{"decode B=1", 1, 1, 128}, {"decode B=8", 8, 1, 128}, {"decode B=32", 32, 1, 128}, {"prefill 512", 1, 512, 0}};
  nlohmann::json document = {{"machine", MachineDescription()}, {"base", std::filesystem::path(base).filename()}, {"rank", rank},
                             {"router_kind", router_kind}, {"rounds", rounds}, {"rows", nlohmann::json::array()}};
  std::printf("%-4s %-2s %-12s %10s | tok/s against dense: %22s %22s %22s\n", "N", "k", "step", "dense ms", "ours", "MixLoRA-style", "naive");
  for (int n : {4, 16}) {
    for (int k : {1, 2}) {
      FixtureOptions fixture;
      fixture.base_directory = base;
      fixture.out_directory = work + "/n" + std::to_string(n) + "k" + std::to_string(k) + router_kind;
      fixture.router_kind = router_kind;
      fixture.top_k = k;
      fixture.include_zero = false;
      for (int e = 0; e < n; ++e) fixture.experts.push_back({"expert" + std::to_string(e), rank});
      if (!std::filesystem::exists(fixture.out_directory)) {
        if (Status status = WriteFixtures(fixture); !status.ok()) Die(status);
      }
      std::map<std::string, std::unique_ptr<ModelRunner>> runners;
      std::vector<std::string> algorithms = {"single_down"};
      if (baselines) algorithms.insert(algorithms.end(), {"mixlora", "naive"});
      for (const std::string& algorithm : algorithms) {
        RunnerOptions options;
        options.base_directory = base;
        for (const auto& expert : fixture.experts) options.experts.push_back({expert.name, fixture.out_directory + "/experts/" + expert.name});
        options.router_directory = fixture.out_directory + "/router";
        options.mixture = algorithm;
        auto loaded = LoadRunner(options);
        if (!loaded.ok()) Die(loaded.status());
        document["isa"] = loaded->report.isa;
        runners[algorithm] = std::move(loaded->runner);
      }
      for (const Shape& shape : shapes) {
        std::vector<std::unique_ptr<PreparedStep>> steps;
        std::vector<std::function<void()>> cases;
        const auto add = [&](ModelRunner& runner, RoutingPolicy::Mode mode) {
          steps.push_back(std::make_unique<PreparedStep>(runner, shape.segments, shape.rows_each, shape.history, mode));
          PreparedStep* step = steps.back().get();
          const int times = shape.rows_each == 1 ? repeat * 4 : repeat;
          cases.push_back([step, times] { for (int i = 0; i < times; ++i) step->Run(); });
        };
        add(*runners["single_down"], RoutingPolicy::Mode::kBaseOnly);
        for (const std::string& algorithm : algorithms) add(*runners[algorithm], RoutingPolicy::Mode::kLearned);
        const auto seconds = Interleaved(cases, rounds);
        const int times = shape.rows_each == 1 ? repeat * 4 : repeat;
        std::printf("%-4d %-2d %-12s %10.2f |", n, k, shape.name.c_str(), Median(seconds[0]) * 1e3 / times);
        nlohmann::json row = {{"experts", n}, {"top_k", k}, {"step", shape.name}, {"dense_ms", Median(seconds[0]) * 1e3 / times}};
        for (size_t a = 0; a < algorithms.size(); ++a) {
          const PairedRatio ratio = Paired(seconds[0], seconds[a + 1]);
          std::printf("   %6.3f (%.3f-%.3f)  ", ratio.median, ratio.low, ratio.high);
          row[algorithms[a]] = {{"of_dense_median", ratio.median}, {"p10", ratio.low}, {"p90", ratio.high}};
        }
        std::printf("\n");
        std::fflush(stdout);
        document["rows"].push_back(row);
      }
    }
  }
  WriteJson(json, document);
  return 0;
}

}  // namespace
}  // namespace switchyard::bench

int main(int argc, char** argv) { return switchyard::bench::Main(argc, argv); }
