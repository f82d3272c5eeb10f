// What computing the context once is worth: questions a second of Score with a shared context against recomputing it for every choice, on
// the same engine and the same weights, interleaved. Both give the same log-probabilities; the largest difference is printed.

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <random>

#include "bench/bench_util.h"
#include "engine/runner/runner_factory.h"
#include "engine/runtime/engine.h"

namespace switchyard::bench {
namespace {

struct Workload {
  std::string name;
  int header = 0;     // tokens shared by all questions
  int context = 200;  // tokens of one question
  int choices = 4;
  int continuation = 10;  // tokens of one choice
};

std::vector<TokenId> RandomTokens(std::mt19937_64& rng, int count, int vocab) {
  std::vector<TokenId> tokens(count);
  for (TokenId& token : tokens) token = static_cast<TokenId>(rng() % vocab);
  return tokens;
}

std::vector<ScoreTask> MakeTasks(const Workload& workload, int questions, int vocab, uint64_t seed) {
  std::mt19937_64 rng(seed);
  const std::vector<TokenId> header = RandomTokens(rng, workload.header, vocab);
  std::vector<ScoreTask> tasks(questions);
  for (ScoreTask& task : tasks) {
    std::vector<TokenId> context = header;
    const std::vector<TokenId> own = RandomTokens(rng, workload.context, vocab);
    context.insert(context.end(), own.begin(), own.end());
    task.groups.emplace_back();
    for (int c = 0; c < workload.choices; ++c) {
      ScoreItem item{context, static_cast<int32_t>(context.size())};
      const std::vector<TokenId> choice = RandomTokens(rng, workload.continuation, vocab);
      item.tokens.insert(item.tokens.end(), choice.begin(), choice.end());
      task.groups[0].push_back(std::move(item));
    }
  }
  return tasks;
}

// Submits all tasks at once and waits for all answers: sums a choice.
std::vector<double> RunAll(Engine& engine, const std::vector<ScoreTask>& tasks, bool share) {
  std::mutex mutex;
  std::condition_variable all_done;
  size_t left = tasks.size();
  std::vector<std::vector<double>> sums(tasks.size());
  for (size_t i = 0; i < tasks.size(); ++i) {
    ScoreTask task = tasks[i];
    task.share_context = share;
    task.use_prefix_cache = share;
    auto submitted = engine.Score(std::move(task), [&, i](StatusOr<ScoreResult> result) {
      std::lock_guard lock(mutex);
      if (result.ok()) {
        for (const ScoreItemResult& item : result->groups[0]) {
          double sum = 0;
          for (float logprob : item.logprobs) sum += logprob;
          sums[i].push_back(sum);
        }
      } else {
        std::fprintf(stderr, "%s\n", result.status().ToString().c_str());
        std::exit(1);
      }
      if (--left == 0) all_done.notify_one();
    });
    if (!submitted.ok()) {
      std::fprintf(stderr, "%s\n", submitted.status().ToString().c_str());
      std::exit(1);
    }
  }
  std::unique_lock lock(mutex);
  all_done.wait(lock, [&] { return left == 0; });
  std::vector<double> flat;
  for (const auto& row : sums) flat.insert(flat.end(), row.begin(), row.end());
  return flat;
}

int Main(int argc, char** argv) {
  CLI::App app{"Questions a second of Score: shared context against recomputing it for each choice"};
  RunnerOptions runner_options;
  std::vector<std::string> experts;
  std::string json;
  int questions = 8, rounds = 7;
  app.add_option("--base", runner_options.base_directory, "Hugging Face directory")->required();
  app.add_option("--expert", experts, "NAME=DIR; NAME= is the zero expert; in router order");
  app.add_option("--router", runner_options.router_directory, "router artifact");
  app.add_option("--backend", runner_options.backend)->capture_default_str();
  app.add_option("--questions", questions, "questions a round")->capture_default_str();
  app.add_option("--rounds", rounds)->capture_default_str();
  app.add_option("--json", json, "also write the figures here");
  CLI11_PARSE(app, argc, argv);
  for (const std::string& expert : experts) {
    const size_t equals = expert.find('=');
    runner_options.experts.push_back({expert.substr(0, equals), equals == std::string::npos ? "" : expert.substr(equals + 1)});
  }

  auto loaded = LoadRunner(runner_options);
  if (!loaded.ok()) {
    std::fprintf(stderr, "%s\n", loaded.status().ToString().c_str());
    return 1;
  }
  EngineOptions engine_options;
  auto engine = Engine::Create(engine_options, loaded->runner.get());
  if (!engine.ok()) {
    std::fprintf(stderr, "%s\n", engine.status().ToString().c_str());
    return 1;
  }
  const int vocab = (*engine)->snapshot()->info().vocab_size;
  RoutingPolicy policy;
  if (runner_options.router_directory.empty()) policy.mode = RoutingPolicy::Mode::kBaseOnly;

  const std::vector<Workload> workloads = {
      {"200 + 4x10", 0, 200, 4, 10}, {"200 + 4x1", 0, 200, 4, 1}, {"1000 few-shot + 200 + 4x10", 1000, 200, 4, 10}};
  nlohmann::json document = {{"machine", MachineDescription()}, {"isa", loaded->report.isa}, {"dtype", loaded->report.base_dtype},
                             {"questions", questions},          {"rounds", rounds},          {"rows", nlohmann::json::array()}};
  std::printf("%-28s %14s %14s %22s %12s %14s\n", "workload", "shared q/s", "recomputed q/s", "ratio (10-90 %)", "token ratio",
              "max |diff|");
  uint64_t seed = 1;
  for (const Workload& w : workloads) {
    std::vector<double> shared_sums, recomputed_sums;
    // Fresh questions a round, so that only the sharing inside the round counts (the few-shot header repeats, as it does in an evaluation).
    std::vector<ScoreTask> tasks;
    double max_difference = 0;
    auto seconds = Interleaved({[&] {
                                  tasks = MakeTasks(w, questions, vocab, seed++);
                                  for (ScoreTask& task : tasks) task.policy = policy;
                                  shared_sums = RunAll(**engine, tasks, true);
                                },
                                [&] {
                                  recomputed_sums = RunAll(**engine, tasks, false);
                                  for (size_t i = 0; i < shared_sums.size(); ++i)
                                    max_difference = std::max(max_difference, std::abs(shared_sums[i] - recomputed_sums[i]));
                                }},
                               rounds);
    const PairedRatio ratio = Paired(seconds[1], seconds[0]);
    const double total = w.header + w.context;
    const double tokens_recomputed = w.choices * (total + w.continuation);
    const double tokens_shared = w.header / static_cast<double>(questions) + w.context + w.choices * w.continuation;
    const double shared_rate = questions / Median(seconds[0]), recomputed_rate = questions / Median(seconds[1]);
    std::printf("%-28s %14.2f %14.2f %9.2f (%.2f-%.2f) %12.2f %14.3g\n", w.name.c_str(), shared_rate, recomputed_rate, ratio.median,
                ratio.low, ratio.high, tokens_recomputed / tokens_shared, max_difference);
    std::fflush(stdout);
    document["rows"].push_back({{"workload", w.name},
                                {"shared_questions_per_second", shared_rate},
                                {"recomputed_questions_per_second", recomputed_rate},
                                {"ratio_median", ratio.median},
                                {"ratio_p10", ratio.low},
                                {"ratio_p90", ratio.high},
                                {"token_ratio", tokens_recomputed / tokens_shared},
                                {"max_abs_difference", max_difference}});
  }
  WriteJson(json, document);
  (*engine)->Stop();
  return 0;
}

}  // namespace
}  // namespace switchyard::bench

int main(int argc, char** argv) { return switchyard::bench::Main(argc, argv); }
