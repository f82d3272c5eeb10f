// What gRPC costs: the same requests straight into an engine and through a server around that engine on the loopback, with the same number
// of callers that wait for their answers. One process, interleaved rounds, paired ratios. Beside it the floor: calls that need no engine.
// The engine keeps no prefixes here, so that the second way finds nothing of the first; both must give the same tokens and
// log-probabilities.

#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <mutex>
#include <thread>

#include "bench/bench_util.h"
#include "bench/rpc_calls.h"
#include "engine/artifact/fixtures.h"
#include "engine/artifact/model_config.h"
#include "engine/runner/runner_factory.h"
#include "server/server.h"

namespace switchyard::bench {
namespace {

[[noreturn]] void Die(const Status& status) {
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

// The figures of one way of making the calls, over all counted rounds.
struct Way {
  std::vector<double> round_seconds;
  std::vector<double> round_cpu_seconds;  // of all threads of this process: what other programs take does not count
  std::vector<double> latency_us;
  std::vector<double> outside_us;  // latency less the engine's own time
  std::vector<std::vector<double>> figures;
};

double CpuSeconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// `concurrency` callers share `count` requests; each waits for its answer before it takes the next.
void RunRound(const Call& call, int concurrency, int count, bool counted, Way* way) {
  std::mutex mutex;
  std::atomic<int> next = 0;
  way->figures.resize(count);
  const auto caller = [&] {
    for (int index = next++; index < count; index = next++) {
      CallOutcome outcome;
      const double us = Seconds([&] { outcome = call(index); }) * 1e6;
      std::lock_guard lock(mutex);
      way->figures[index] = std::move(outcome.figures);
      if (!counted) continue;
      way->latency_us.push_back(us);
      way->outside_us.push_back(us - outcome.engine_ms * 1e3);
    }
  };
  const double cpu_before = CpuSeconds();
  const double seconds = Seconds([&] {
    std::vector<std::jthread> callers;
    for (int i = 0; i < concurrency; ++i) callers.emplace_back(caller);
  });
  if (!counted) return;
  way->round_seconds.push_back(seconds);
  way->round_cpu_seconds.push_back(CpuSeconds() - cpu_before);
}

// What `over_grpc` took more in each round, shared out among `parts`, in microseconds.
std::vector<double> AddedUs(const std::vector<double>& in_process, const std::vector<double>& over_grpc, int parts) {
  std::vector<double> added(in_process.size());
  for (size_t r = 0; r < added.size(); ++r) added[r] = (over_grpc[r] - in_process[r]) * 1e6 / parts;
  return added;
}
nlohmann::json Band(const std::vector<double>& values) {
  return {{"median", Median(values)}, {"p10", Quantile(values, 0.1)}, {"p90", Quantile(values, 0.9)}};
}

nlohmann::json Compare(const CallPair& pair, int concurrency, int count, int rounds) {
  Way in_process, over_grpc;
  for (int round = -1; round < rounds; ++round) {
    // Who goes first alternates: a machine that grows slower within a round favours neither.
    const bool grpc_first = round % 2 == 1;
    for (const bool grpc : {grpc_first, !grpc_first})
      RunRound(grpc ? pair.over_grpc : pair.in_process, concurrency, count, round >= 0, grpc ? &over_grpc : &in_process);
    if (in_process.figures != over_grpc.figures) Die(Internal("%s: the two ways gave different answers", pair.name));
  }
  const PairedRatio ratio = Paired(in_process.round_seconds, over_grpc.round_seconds);
  const double added_p50 = Median(over_grpc.latency_us) - Median(in_process.latency_us);
  const double added_outside = Median(over_grpc.outside_us) - Median(in_process.outside_us);
  nlohmann::json row = {{"call", pair.name},
                        {"callers", concurrency},
                        {"calls_a_round", count},
                        {"in_process_calls_per_second", count / Median(in_process.round_seconds)},
                        {"grpc_calls_per_second", count / Median(over_grpc.round_seconds)},
                        {"throughput_ratio", {{"median", ratio.median}, {"p10", ratio.low}, {"p90", ratio.high}}},
                        {"in_process_p50_us", Median(in_process.latency_us)},
                        {"grpc_p50_us", Median(over_grpc.latency_us)},
                        {"added_p50_us", added_p50},
                        {"outside_engine_in_process_p50_us", Median(in_process.outside_us)},
                        {"outside_engine_grpc_p50_us", Median(over_grpc.outside_us)},
                        {"added_outside_engine_p50_us", added_outside}};
  const std::vector<double> cpu_us = AddedUs(in_process.round_cpu_seconds, over_grpc.round_cpu_seconds, count);
  row["added_cpu_us"] = Band(cpu_us);
  std::printf("%-32s %7d %12.2f %12.2f %8.3f (%.3f-%.3f) %10.0f %12.0f %10.0f", pair.name.c_str(), concurrency,
              count / Median(in_process.round_seconds), count / Median(over_grpc.round_seconds), ratio.median, ratio.low, ratio.high,
              added_p50, added_outside, Median(cpu_us));
  if (pair.streamed_tokens > 0) {
    const int tokens = count * pair.streamed_tokens;
    const std::vector<double> a_token = AddedUs(in_process.round_seconds, over_grpc.round_seconds, tokens);
    const std::vector<double> cpu_a_token = AddedUs(in_process.round_cpu_seconds, over_grpc.round_cpu_seconds, tokens);
    row["us_per_streamed_token"] = Band(a_token);
    row["cpu_us_per_streamed_token"] = Band(cpu_a_token);
    std::printf(" %8.1f (%.1f-%.1f) %8.1f", Median(a_token), Quantile(a_token, 0.1), Quantile(a_token, 0.9), Median(cpu_a_token));
  }
  std::printf("\n");
  std::fflush(stdout);
  return row;
}

// GetModel needs no worker and no engine: what a call costs at least.
nlohmann::json Floor(v1::Inference::Stub* stub, int concurrency) {
  constexpr int kCalls = 4000;
  const Call call = [stub](int) {
    grpc::ClientContext context;
    v1::GetModelResponse reply;
    if (const grpc::Status status = stub->GetModel(&context, {}, &reply); !status.ok()) Die(Unavailable("%s", status.error_message()));
    return CallOutcome{};
  };
  Way way;
  for (const bool counted : {false, true}) RunRound(call, concurrency, kCalls, counted, &way);
  const double p50 = Median(way.latency_us), p99 = Quantile(way.latency_us, 0.99), rate = kCalls / way.round_seconds[0];
  std::printf("floor: GetModel, %3d callers: p50 %.0f us, p99 %.0f us, %.0f calls/s\n", concurrency, p50, p99, rate);
  return {{"callers", concurrency}, {"p50_us", p50}, {"p99_us", p99}, {"calls_per_second", rate}};
}

// A base of one small layer with the given one's vocabulary and tokenizer: its steps are short enough that the calls' own cost shows.
std::string SmallBase(const std::string& base, const std::string& work) {
  const std::string directory = work + "/small-base";
  if (std::filesystem::exists(directory)) return directory;
  auto config = ReadModelConfig(base);
  if (!config.ok()) Die(config.status());
  RandomBaseOptions options;
  options.directory = directory;
  options.config = *config;
  options.config.num_layers = 1;
  options.config.hidden_size = 64;
  options.config.intermediate_size = 128;
  options.config.num_heads = 2;
  options.config.num_kv_heads = 1;
  options.config.head_dim = 32;
  if (Status status = WriteRandomBase(options); !status.ok()) Die(status);
  std::filesystem::copy_file(base + "/tokenizer.json", directory + "/tokenizer.json");
  return directory;
}

// Four experts of rank 16 and zero under a linear router, top-2, seeded.
RunnerOptions WithExperts(const std::string& base, const std::string& directory) {
  FixtureOptions fixture;
  fixture.base_directory = base;
  fixture.out_directory = directory;
  fixture.router_kind = "linear";
  for (int e = 0; e < 4; ++e) fixture.experts.push_back({"expert" + std::to_string(e), 16});
  if (!std::filesystem::exists(directory)) {
    if (Status status = WriteFixtures(fixture); !status.ok()) Die(status);
  }
  RunnerOptions options;
  options.base_directory = base;
  for (const auto& expert : fixture.experts) options.experts.push_back({expert.name, directory + "/experts/" + expert.name});
  options.experts.push_back({"zero", ""});
  options.router_directory = directory + "/router";
  return options;
}

struct Settings {
  std::string base, work = "build/bench-fixtures", json;
  std::vector<int> callers = {1, 8};
  int rounds = 5, calls_each = 2;
  bool small = false;
};

int Run(const Settings& settings) {
  std::filesystem::create_directories(settings.work);
  const std::string base = settings.small ? SmallBase(settings.base, settings.work) : settings.base;
  const RunnerOptions runner_options = WithExperts(base, settings.work + (settings.small ? "/rpc-small" : "/rpc"));
  auto loaded = LoadRunner(runner_options);
  if (!loaded.ok()) Die(loaded.status());
  EngineOptions engine_options;
  engine_options.prefix_cache = false;
  auto engine = Engine::Create(engine_options, loaded->runner.get());
  if (!engine.ok()) Die(engine.status());
  auto model = LoadServedText(base);
  if (!model.ok()) Die(model.status());
  model->engine = engine->get();
  ServerOptions options;
  options.listen = "127.0.0.1:0";
  options.metrics = "";
  options.gate.log_requests = 0;  // the terminal is not what is measured
  auto server = Server::Start(options, *model, {});
  if (!server.ok()) Die(server.status());
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  const auto channel =
      grpc::CreateCustomChannel("127.0.0.1:" + std::to_string((*server)->grpc_port()), grpc::InsecureChannelCredentials(), arguments);
  const auto stub = v1::Inference::NewStub(channel);

  nlohmann::json document = {{"machine", MachineDescription()},    {"isa", loaded->report.isa},
                             {"dtype", loaded->report.base_dtype}, {"base", std::filesystem::path(base).filename()},
                             {"rounds", settings.rounds},          {"floor_get_model", nlohmann::json::array()},
                             {"rows", nlohmann::json::array()}};
  for (const int callers : settings.callers) document["floor_get_model"].push_back(Floor(stub.get(), callers));
  std::printf("\n%-32s %7s %12s %12s %22s %10s %12s %10s %20s %8s\n", "call", "callers", "engine/s", "gRPC/s", "gRPC/engine (10-90 %)",
              "+p50 us", "+outside us", "+CPU us", "us/streamed token", "CPU us");
  const Ends ends{&*model, stub.get()};
  constexpr auto kBase = RoutingPolicy::Mode::kBaseOnly, kLearned = RoutingPolicy::Mode::kLearned;
  for (const int callers : settings.callers) {
    const int count = std::max(callers * settings.calls_each, 4);
    for (const CallPair& pair :
         {ScoreOfTokens(ends, count), ScoreOfText(ends, count), GenerateFromTokens(ends, count, kBase),
          GenerateFromTokens(ends, count, kLearned), GenerateFromText(ends, count, kLearned), RouteOfTokens(ends, count, kLearned)}) {
      document["rows"].push_back(Compare(pair, callers, count, settings.rounds));
    }
  }
  WriteJson(settings.json, document);
  return 0;
}

int Main(int argc, char** argv) {
  CLI::App app{"What gRPC costs: Score, Generate and Route straight into an engine and through a server around it"};
  Settings settings;
  app.add_option("--base", settings.base, "Hugging Face directory")->required();
  app.add_option("--work", settings.work, "where seeded experts and routers are written")->capture_default_str();
  app.add_option("--callers", settings.callers, "how many at once, each waiting for its answer")
      ->delimiter(',')
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app.add_option("--rounds", settings.rounds)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--calls", settings.calls_each, "calls a caller makes a round, at least four a round in all")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_flag("--small", settings.small, "a base of one small random layer with the given one's tokenizer: the calls' own cost shows");
  app.add_option("--json", settings.json, "also write the figures here");
  CLI11_PARSE(app, argc, argv);
  return Run(settings);
}

}  // namespace
}  // namespace switchyard::bench

int main(int argc, char** argv) { return switchyard::bench::Main(argc, argv); }
