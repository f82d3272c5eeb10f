// Training speed on one model: router and expert steps against the engine's own forward pass over the same tokens, and against the same
// step on LibTorch's autograd with every expert on every row. One process, interleaved rounds; peak memory of each.

#include <ATen/Parallel.h>
#include <CLI/CLI.hpp>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "bench/bench_util.h"
#include "engine/artifact/fixtures.h"
#include "engine/runner/runner_factory.h"
#include "trainer/nn/heap.h"
#include "trainer/nn/model.h"

namespace switchyard::bench {
namespace {

using trainer::LoraExpert;
using trainer::PackedBatch;
using trainer::RoutePlan;

[[noreturn]] void Die(const Status& status) {
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

template <typename T>
T Must(StatusOr<T> value) {
  if (!value.ok()) Die(value.status());
  return *std::move(value);
}

// Questions of about `length` tokens, loss on their last `answer`.
PackedBatch MakeBatch(int sequences, int length, int answer, int vocab) {
  std::mt19937_64 rng(3);
  PackedBatch batch;
  for (int s = 0; s < sequences; ++s) {
    const auto begin = static_cast<int32_t>(batch.tokens.size());
    for (int i = 0; i < length; ++i) batch.tokens.push_back(static_cast<int32_t>(rng() % vocab));
    batch.segments.push_back({begin, begin + length, 0});
    for (int row = begin + length - answer - 1; row + 1 < begin + length; ++row) {
      batch.rows.push_back(row);
      batch.targets.push_back(batch.tokens[row + 1]);
    }
  }
  return batch;
}

// The same tokens as one step of the engine.
class EngineStep {
 public:
  EngineStep(ModelRunner& runner, const PackedBatch& batch, RoutingPolicy::Mode mode) : runner_(runner), slots_(batch.tokens.size()) {
    policy_.mode = mode;
    step_.snapshot = runner.snapshot();
    step_.tokens.assign(batch.tokens.begin(), batch.tokens.end());
    for (size_t i = 0; i < slots_.size(); ++i) slots_[i] = static_cast<int32_t>(i);
    for (const PackedBatch::Segment& s : batch.segments) {
      step_.segments.push_back({s.begin, s.end, std::span(slots_).subspan(s.begin, s.end - s.begin), &policy_, false});
    }
    for (const int32_t row : batch.rows) step_.logprobs.push_back({row, batch.tokens[row + 1]});
  }
  void Run() {
    if (auto result = runner_.Run(step_); !result.ok()) Die(result.status());
  }

 private:
  ModelRunner& runner_;
  RoutingPolicy policy_;
  Step step_;
  std::vector<int32_t> slots_;
};

// Peak resident bytes since the last call of Reset.
class PeakMemory {
 public:
  static void Reset() { std::ofstream("/proc/self/clear_refs") << "5"; }
  static int64_t Bytes() { return Field("VmHWM:"); }
  static int64_t Now() { return Field("VmRSS:"); }

 private:
  static int64_t Field(const std::string& wanted) {
    std::ifstream status("/proc/self/status");
    std::string word;
    while (status >> word) {
      if (word != wanted) continue;
      int64_t kib = 0;
      status >> kib;
      return kib * 1024;
    }
    return 0;
  }
};

int Main(int argc, char** argv) {
  CLI::App app{"Training speed against the engine's forward pass and against autograd over all experts"};
  std::string base_directory, json, work = "build/bench-fixtures";
  int rounds = 5, sequences = 16, length = 40, answer = 4, experts_count = 4, rank = 16;
  bool reference = true;
  std::string only;
  app.add_option("--base", base_directory, "Hugging Face directory")->required();
  app.add_option("--work", work, "where seeded experts are written")->capture_default_str();
  app.add_option("--rounds", rounds)->capture_default_str();
  app.add_option("--sequences", sequences)->capture_default_str();
  app.add_option("--length", length, "tokens a sequence")->capture_default_str();
  app.add_option("--answer", answer, "tokens of it that are predicted")->capture_default_str();
  app.add_option("--experts", experts_count)->capture_default_str();
  app.add_option("--rank", rank)->capture_default_str();
  app.add_option("--only", only, "beside the engine's forward pass, steps whose name begins so");
  app.add_flag("--reference,!--no-reference", reference, "also autograd over all experts");
  app.add_option("--json", json);
  CLI11_PARSE(app, argc, argv);
  trainer::KeepFreedMemory();  // as the trainer does

  FixtureOptions fixture;
  fixture.base_directory = base_directory;
  fixture.out_directory = work + "/training-n" + std::to_string(experts_count) + "r" + std::to_string(rank);
  fixture.top_k = 1;
  for (int e = 0; e < experts_count; ++e) fixture.experts.push_back({"expert" + std::to_string(e), rank});
  if (!std::filesystem::exists(fixture.out_directory)) {
    if (Status status = WriteFixtures(fixture); !status.ok()) Die(status);
  }
  RunnerOptions runner_options;
  runner_options.base_directory = base_directory;
  for (const auto& expert : fixture.experts)
    runner_options.experts.push_back({expert.name, fixture.out_directory + "/experts/" + expert.name});
  runner_options.experts.push_back({"zero", ""});
  runner_options.router_directory = fixture.out_directory + "/router";
  const LoadedRunner loaded = Must(LoadRunner(runner_options));

  const int threads = static_cast<int>(std::thread::hardware_concurrency());
  kernels::ThreadPool pool(threads);
  at::set_num_threads(threads);
  const trainer::BaseWeights base = Must(trainer::ReadBaseWeights(base_directory, "auto", 4096));
  const trainer::TrainCompute compute{base.dtype, &pool};
  std::vector<LoraExpert> frozen, trained;
  for (const auto& expert : runner_options.experts) {
    frozen.push_back(expert.directory.empty() ? trainer::ZeroLoraExpert("zero", base.config)
                                              : Must(trainer::ReadLoraExpert(compute, expert.name, expert.directory, base.config, false)));
  }
  trained.push_back(trainer::NewLoraExpert(compute, "new", base.config, {.rank = rank}, 1));
  const auto router = [&](int k) {
    return Must(trainer::NewRouter({.top_k = k, .gate = k == 1 ? "ste" : "renorm", .dropout = 0.1, .compute = base.dtype},
                                   base.config.num_layers, base.config.hidden_size, static_cast<int32_t>(frozen.size()), 1));
  };
  const auto top1 = router(1), top2 = router(2);
  const auto routed = trainer::MakeFastModel(compute, base, frozen, {}),
             recomputed = trainer::MakeFastModel(compute, base, frozen, {.recompute = true});
  const auto expert = trainer::MakeFastModel(compute, base, trained, {});
  const auto slow = trainer::MakeReferenceModel(compute, base, frozen, {});

  const PackedBatch batch = MakeBatch(sequences, length, answer, base.config.vocab_size);
  const auto rows = static_cast<int64_t>(batch.tokens.size());
  EngineStep dense(*loaded.runner, batch, RoutingPolicy::Mode::kBaseOnly), learned(*loaded.runner, batch, RoutingPolicy::Mode::kLearned);
  const auto train = [&](trainer::TrainableModel& model, const trainer::RouterModule* module) {
    return [&model, module, &batch, rows] {
      RoutePlan plan;
      plan.router = module;
      if (module == nullptr) plan.forced.assign(static_cast<size_t>(rows), 0);
      if (auto result = model.ForwardBackward(batch, plan, {}); !result.ok()) Die(result.status());
    };
  };
  struct Case {
    std::string name;
    std::function<void()> run;
  };
  std::vector<Case> cases = {{"engine forward, base", [&] { dense.Run(); }},
                             {"engine forward, routed", [&] { learned.Run(); }},
                             {"router top-1 (STE)", train(*routed, top1.get())},
                             {"router top-2", train(*routed, top2.get())},
                             {"router top-2, recompute", train(*recomputed, top2.get())},
                             {"expert", train(*expert, nullptr)}};
  if (reference) cases.push_back({"autograd, all experts", train(*slow, top1.get())});
  std::erase_if(cases,
                [&](const Case& c) { return !only.empty() && c.name.rfind("engine forward, base", 0) != 0 && c.name.rfind(only, 0) != 0; });
  reference = reference && only.empty();
  std::vector<std::function<void()>> runs;
  std::vector<int64_t> peaks;
  for (const Case& c : cases) {
    runs.push_back(c.run);
    trainer::ReleaseFreedMemory();
    PeakMemory::Reset();
    const int64_t before = PeakMemory::Now();
    c.run();
    peaks.push_back(PeakMemory::Bytes() - before);
  }
  const auto seconds = Interleaved(runs, rounds);
  nlohmann::json document = {{"machine", MachineDescription()},
                             {"base", std::filesystem::path(base_directory).filename()},
                             {"tokens", rows},
                             {"experts", experts_count},
                             {"rank", rank},
                             {"rounds", rounds},
                             {"rows", nlohmann::json::array()}};
  std::printf("%lld tokens in %d sequences, %zu answer tokens, %d experts of rank %d and zero\n\n", static_cast<long long>(rows), sequences,
              batch.rows.size(), experts_count, rank);
  std::printf("%-26s %9s %9s %24s %12s\n", "step", "ms", "tokens/s", "speed / engine forward", "memory MB");
  for (size_t i = 0; i < cases.size(); ++i) {
    const PairedRatio ratio = Paired(seconds[0], seconds[i]);
    const double median = Median(seconds[i]);
    std::printf("%-26s %9.1f %9.0f %8.3f (%.3f-%.3f) %12.0f\n", cases[i].name.c_str(), median * 1e3, static_cast<double>(rows) / median,
                ratio.median, ratio.low, ratio.high, static_cast<double>(peaks[i]) / 1e6);
    document["rows"].push_back({{"step", cases[i].name},
                                {"ms", median * 1e3},
                                {"tokens_per_second", static_cast<double>(rows) / median},
                                {"of_engine_forward", {{"median", ratio.median}, {"p10", ratio.low}, {"p90", ratio.high}}},
                                {"peak_bytes", peaks[i]}});
  }
  if (reference) {
    const PairedRatio ratio = Paired(seconds.back(), seconds[2]);
    std::printf("\nrouter top-1 against autograd over all experts: %.2f times as fast (%.2f-%.2f), %.1f times less memory\n", ratio.median,
                ratio.low, ratio.high, static_cast<double>(peaks.back()) / static_cast<double>(std::max<int64_t>(peaks[2], 1)));
    document["against_autograd"] = {{"median", ratio.median}, {"p10", ratio.low}, {"p90", ratio.high}};
  }
  WriteJson(json, document);
  return 0;
}

}  // namespace
}  // namespace switchyard::bench

int main(int argc, char** argv) { return switchyard::bench::Main(argc, argv); }
