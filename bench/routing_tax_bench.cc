// The routing tax on a whole model: steps through learned routing against the same weights run dense (base only), at decode of 1, 8 and 32
// rows and a 512-token prefill; beside it the two ways others mix LoRA experts. One process, interleaved rounds, paired ratios.

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
    Step fill;  // writes the history's keys and values
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
  // Which experts the step's rows select.
  RouteCounts Counts() { return Run(step_).counts; }

 private:
  void AddSegment(Step& step, std::span<const int32_t> slots, int rows, std::mt19937_64& rng) {
    if (rows == 0) return;
    const auto begin = static_cast<int32_t>(step.tokens.size());
    for (int i = 0; i < rows; ++i) step.tokens.push_back(static_cast<TokenId>(rng() % step.snapshot->info().vocab_size));
    const auto end = static_cast<int32_t>(step.tokens.size());
    step.segments.push_back({begin, end, slots, &policy_, false});
    step.logprobs.push_back({end - 1, 1});
  }
  StepResult Run(const Step& step) {
    auto result = runner_.Run(step);
    if (!result.ok()) Die(result.status());
    return *std::move(result);
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

struct Options {
  std::string base, json, work = "build/bench-fixtures", router_kind = "linear";
  int rounds = 9, rank = 16, repeat = 1;
  bool baselines = true;
  std::vector<int> experts = {4, 16}, ks = {1, 2};
};

FixtureOptions Fixtures(const Options& options, int experts, int k) {
  FixtureOptions fixture;
  fixture.base_directory = options.base;
  fixture.out_directory = options.work + "/n" + std::to_string(experts) + "k" + std::to_string(k) + options.router_kind;
  fixture.router_kind = options.router_kind;
  fixture.top_k = k;
  fixture.include_zero = false;
  for (int e = 0; e < experts; ++e) fixture.experts.push_back({"expert" + std::to_string(e), options.rank});
  if (!std::filesystem::exists(fixture.out_directory)) {
    if (Status status = WriteFixtures(fixture); !status.ok()) Die(status);
  }
  return fixture;
}

// What the steps read and multiply at the least, dense and routed; the attention itself and its cache are left out of both.
SpeedFloor StepFloor(const LoadReport& report, const SnapshotInfo& info, const RouteCounts& counts, const Options& options,
                     const Shape& shape) {
  const double rows = static_cast<double>(shape.segments) * shape.rows_each, element = report.base_dtype == "bf16" ? 2 : 4;
  const double head = static_cast<double>(info.vocab_size) * info.hidden_size;  // as many in the embedding, of which only rows are read
  const double body = static_cast<double>(report.base_bytes) / element - 2 * head;
  const Work dense = {(body + head) * element, 2 * (rows * body + shape.segments * head)};
  Work routed = dense;
  routed.bytes += static_cast<double>(report.router_bytes);
  routed.flops += 2 * rows * static_cast<double>(report.router_bytes) / (options.router_kind == "linear" ? 4 : element);
  for (size_t i = 0; i < counts.tokens.size(); ++i) {
    const double bytes = static_cast<double>(info.experts[i % info.experts.size()].bytes) / info.num_layers;
    if (counts.tokens[i] > 0) routed.bytes += bytes;
    routed.flops += 2 * static_cast<double>(counts.tokens[i]) * bytes / element;
  }
  return FloorOf(dense, routed, static_cast<int64_t>(rows));
}

struct Loaded {
  std::string algorithm;
  std::unique_ptr<ModelRunner> runner;
  LoadReport report;
};

// ours first
std::vector<Loaded> LoadAll(const Options& options, const FixtureOptions& fixture) {
  std::vector<Loaded> all;
  for (const std::string algorithm : {"single_down", "mixlora", "naive"}) {
    if (!options.baselines && !all.empty()) break;
    RunnerOptions runner;
    runner.base_directory = options.base;
    for (const auto& expert : fixture.experts) runner.experts.push_back({expert.name, fixture.out_directory + "/experts/" + expert.name});
    runner.router_directory = fixture.out_directory + "/router";
    runner.mixture = algorithm;
    auto loaded = LoadRunner(runner);
    if (!loaded.ok()) Die(loaded.status());
    all.push_back({algorithm, std::move(loaded->runner), loaded->report});
  }
  return all;
}

// One line of the table, also as JSON.
nlohmann::json Measure(const Options& options, const std::vector<Loaded>& loaded, const Shape& shape, int n, int k) {
  std::vector<std::unique_ptr<PreparedStep>> steps;
  std::vector<std::function<void()>> cases;
  const int times = shape.rows_each == 1 ? options.repeat * 4 : options.repeat;
  const auto add = [&](ModelRunner& runner, RoutingPolicy::Mode mode) {
    steps.push_back(std::make_unique<PreparedStep>(runner, shape.segments, shape.rows_each, shape.history, mode));
    cases.push_back([step = steps.back().get(), times] {
      for (int i = 0; i < times; ++i) step->Run();
    });
  };
  add(*loaded[0].runner, RoutingPolicy::Mode::kBaseOnly);
  for (const Loaded& one : loaded) add(*one.runner, RoutingPolicy::Mode::kLearned);
  const SpeedFloor floor = StepFloor(loaded[0].report, loaded[0].runner->snapshot()->info(), steps[1]->Counts(), options, shape);
  const auto seconds = Interleaved(cases, options.rounds);
  const double dense_ms = Median(seconds[0]) * 1e3 / times;
  std::printf("%-4d %-2d %-12s %10.2f   %6.3f |", n, k, shape.name.c_str(), dense_ms, floor.speed);
  nlohmann::json row = {{"experts", n}, {"top_k", k}, {"step", shape.name}, {"dense_ms", dense_ms}, {"floor", FloorJson(floor)}};
  for (size_t a = 0; a < loaded.size(); ++a) {
    const PairedRatio ratio = Paired(seconds[0], seconds[a + 1]);
    std::printf("   %6.3f (%.3f-%.3f)  ", ratio.median, ratio.low, ratio.high);
    row[loaded[a].algorithm] = {{"of_dense_median", ratio.median}, {"p10", ratio.low}, {"p90", ratio.high}};
  }
  std::printf("\n");
  std::fflush(stdout);
  return row;
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app{"The routing tax: learned routing against the dense base on the same weights"};
  app.add_option("--base", options.base, "Hugging Face directory")->required();
  app.add_option("--work", options.work, "where seeded experts and routers are written; one folder a base")->capture_default_str();
  app.add_option("--router-kind", options.router_kind, "linear | dense2moe_mlp")->capture_default_str();
  app.add_option("--experts", options.experts, "LoRA experts")->capture_default_str();
  app.add_option("--k", options.ks, "Experts a row")->capture_default_str();
  app.add_option("--rank", options.rank)->capture_default_str();
  app.add_option("--rounds", options.rounds)->capture_default_str();
  app.add_option("--repeat", options.repeat, "steps timed together")->capture_default_str();
  app.add_flag("--baselines,!--no-baselines", options.baselines, "also naive per-expert blocks and MixLoRA-style sharing");
  app.add_option("--json", options.json);
  CLI11_PARSE(app, argc, argv);

  const std::vector<Shape> shapes = {
      {"decode B=1", 1, 1, 128}, {"decode B=8", 8, 1, 128}, {"decode B=32", 32, 1, 128}, {"prefill 512", 1, 512, 0}};
  nlohmann::json document = {{"machine", MachineDescription()},
                             {"base", std::filesystem::path(options.base).filename()},
                             {"rank", options.rank},
                             {"router_kind", options.router_kind},
                             {"rounds", options.rounds},
                             {"rows", nlohmann::json::array()}};
  std::printf("%-4s %-2s %-12s %10s   %6s | tok/s against dense: %22s %22s %22s\n", "N", "k", "step", "dense ms", "floor", "ours",
              "MixLoRA-style", "naive");
  for (const int n : options.experts) {
    for (const int k : options.ks) {
      const std::vector<Loaded> loaded = LoadAll(options, Fixtures(options, n, k));
      document["isa"] = loaded[0].report.isa;
      for (const Shape& shape : shapes) document["rows"].push_back(Measure(options, loaded, shape, n, k));
    }
  }
  WriteJson(options.json, document);
  return 0;
}

}  // namespace
}  // namespace switchyard::bench

int main(int argc, char** argv) { return switchyard::bench::Main(argc, argv); }
