// What overload does to the work that is admitted. First as many callers as the engine runs at once, each waiting for its answer: that is
// the server's capacity and, since it is full and nothing has to queue, the latency to compare with. Then arrivals at a multiple of that
// capacity, drawn at random (exponential gaps), that do not wait for one another and do not try again: what is admitted, how long it takes,
// and how fast the rest is refused.
//
// Server and load share one process and its cores: what refusals cost is taken from the admitted work's speed, as on a real server.

#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <thread>

#include "bench/bench_util.h"
#include "engine/runner/runner_factory.h"
#include "server/server.h"
#include "switchyard/v1/inference.grpc.pb.h"

namespace switchyard::bench {
namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void Die(const std::string& message) {
  std::fprintf(stderr, "%s\n", message.c_str());
  std::exit(1);
}
template <typename T>
T Take(StatusOr<T> result) {
  if (!result.ok()) Die(result.status().ToString());
  return *std::move(result);
}
double Milliseconds(Clock::duration d) { return std::chrono::duration<double, std::milli>(d).count(); }

struct Settings {
  std::string base, json;
  int context = 64, continuations = 4, continuation = 4;  // tokens of a Score request
  int running = 64, queue = 0;                            // 0: the server's default
  double seconds = 30;
  std::vector<double> multiples = {1, 10};
};

// Calls in flight and what became of those that ended. Thread-safe; outlives its calls (Wait).
class Load {
 public:
  Load(v1::Inference::Stub* stub, const Settings& settings, int vocabulary)
      : stub_(stub), settings_(settings), vocabulary_(vocabulary), random_(1) {}

  // `ended` is called after the call, on gRPC's thread.
  void Start(std::function<void()> ended) {
    auto call = std::make_shared<Call>();
    call->request = NextRequest();
    {
      std::lock_guard lock(mutex_);
      ++in_flight_;
    }
    call->start = Clock::now();
    stub_->async()->Score(&call->context, &call->request, &call->response, [this, call, ended = std::move(ended)](grpc::Status status) {
      const double ms = Milliseconds(Clock::now() - call->start);
      {
        std::lock_guard lock(mutex_);
        latency_ms_[status.error_code()].push_back(ms);
        if (status.ok()) last_answer_ = Clock::now();
      }
      if (ended) ended();
      std::lock_guard lock(mutex_);
      if (--in_flight_ == 0) idle_.notify_all();
    });
  }
  void Wait() {
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [this] { return in_flight_ == 0; });
  }
  // After Wait.
  const std::map<grpc::StatusCode, std::vector<double>>& latency_ms() const { return latency_ms_; }
  Clock::time_point last_answer() const { return last_answer_; }

 private:
  struct Call {
    grpc::ClientContext context;
    v1::ScoreRequest request;
    v1::ScoreResponse response;
    Clock::time_point start;
  };

  v1::ScoreRequest NextRequest() {
    std::lock_guard lock(mutex_);
    v1::ScoreRequest request;
    const auto fill = [&](int count, v1::TokenIds* ids) {
      for (int i = 0; i < count; ++i) ids->add_ids(static_cast<int>(random_() % vocabulary_));
    };
    fill(settings_.context, request.mutable_tokens());
    for (int c = 0; c < settings_.continuations; ++c) fill(settings_.continuation, request.add_continuations()->mutable_tokens());
    return request;
  }

  v1::Inference::Stub* const stub_;
  const Settings& settings_;
  const int vocabulary_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable idle_;
  std::mt19937_64 random_;
  int64_t in_flight_ = 0;
  std::map<grpc::StatusCode, std::vector<double>> latency_ms_;
  Clock::time_point last_answer_;
};

struct Phase {
  std::string name;
  double offered = 0;   // calls a second
  double admitted = 0;  // answers a second
  std::vector<double> admitted_ms, refused_ms;
  int64_t other = 0;  // neither OK nor RESOURCE_EXHAUSTED
};

Phase Summary(const Load& load, const std::string& name, Clock::time_point start, double offering_seconds) {
  Phase phase;
  phase.name = name;
  int64_t calls = 0;
  for (const auto& [code, latency] : load.latency_ms()) {
    calls += static_cast<int64_t>(latency.size());
    if (code == grpc::StatusCode::OK) {
      phase.admitted_ms = latency;
    } else if (code == grpc::StatusCode::RESOURCE_EXHAUSTED) {
      phase.refused_ms = latency;
    } else {
      phase.other += static_cast<int64_t>(latency.size());
    }
  }
  if (phase.admitted_ms.empty()) Die(name + ": nothing was answered");
  phase.offered = static_cast<double>(calls) / offering_seconds;
  phase.admitted = static_cast<double>(phase.admitted_ms.size()) / std::chrono::duration<double>(load.last_answer() - start).count();
  return phase;
}

// As many callers as the engine runs at once.
Phase Full(v1::Inference::Stub* stub, const Settings& settings, int vocabulary, double seconds) {
  Load load(stub, settings, vocabulary);
  const auto start = Clock::now();
  const auto end = start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  std::function<void()> again = [&] {
    if (Clock::now() < end) load.Start(again);
  };
  for (int i = 0; i < settings.running; ++i) load.Start(again);
  load.Wait();
  return Summary(load, "full, nothing queues", start, std::chrono::duration<double>(load.last_answer() - start).count());
}

Phase Offered(v1::Inference::Stub* stub, const Settings& settings, int vocabulary, double rate, const std::string& name) {
  Load load(stub, settings, vocabulary);
  std::mt19937_64 random(2);
  std::exponential_distribution<double> gap(rate);
  const auto start = Clock::now();
  auto next = start;
  const auto end = start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(settings.seconds));
  while (next < end) {
    std::this_thread::sleep_until(next);
    load.Start(nullptr);
    next += std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(gap(random)));
  }
  load.Wait();
  return Summary(load, name, start, settings.seconds);
}

nlohmann::json Quantiles(const std::vector<double>& ms) {
  if (ms.empty()) return nullptr;
  return {{"p50", Quantile(ms, 0.5)}, {"p99", Quantile(ms, 0.99)}, {"max", Quantile(ms, 1)}};
}

int Run(const Settings& settings) {
  RunnerOptions runner_options;
  runner_options.base_directory = settings.base;
  auto loaded = Take(LoadRunner(runner_options));
  EngineOptions engine_options;
  engine_options.prefix_cache = false;
  engine_options.max_running_tasks = settings.running;
  if (settings.queue > 0) engine_options.max_queued_tasks = settings.queue;
  auto engine = Take(Engine::Create(engine_options, loaded.runner.get()));
  ServedModel model = Take(LoadServedText(settings.base));
  model.engine = engine.get();
  ServerOptions options;
  options.listen = "127.0.0.1:0";
  options.metrics = "";
  options.gate.log_requests = 0;
  auto server = Take(Server::Start(options, model, {}));
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  const auto channel =
      grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(server->grpc_port()), grpc::InsecureChannelCredentials(), arguments);
  const auto stub = v1::Inference::NewStub(channel);
  const int vocabulary = engine->snapshot()->info().vocab_size;

  Full(stub.get(), settings, vocabulary, settings.seconds / 4);  // not counted
  std::vector<Phase> phases = {Full(stub.get(), settings, vocabulary, settings.seconds)};
  const double capacity = phases[0].admitted;
  for (const double multiple : settings.multiples) {
    char name[64];
    std::snprintf(name, sizeof name, "arrivals x %g", multiple);
    phases.push_back(Offered(stub.get(), settings, vocabulary, capacity * multiple, name));
  }

  nlohmann::json document = {
      {"machine", MachineDescription()},
      {"base", std::filesystem::path(settings.base).filename()},
      {"request_tokens",
       {{"context", settings.context}, {"continuations", settings.continuations}, {"continuation", settings.continuation}}},
      {"max_running_tasks", engine_options.max_running_tasks},
      {"max_queued_tasks", engine_options.max_queued_tasks},
      {"seconds", settings.seconds},
      {"phases", nlohmann::json::array()}};
  std::printf("%-22s %10s %10s %10s %10s %10s %8s %10s %10s %7s\n", "load", "offered/s", "answers/s", "of full", "p50 ms", "p99 ms",
              "x p99", "refused", "p99 ms", "other");
  const double full_p99 = Quantile(phases[0].admitted_ms, 0.99);
  for (const Phase& phase : phases) {
    const double p99 = Quantile(phase.admitted_ms, 0.99);
    std::printf("%-22s %10.1f %10.1f %10.2f %10.0f %10.0f %8.2f %10zu %10.1f %7ld\n", phase.name.c_str(), phase.offered, phase.admitted,
                phase.admitted / capacity, Quantile(phase.admitted_ms, 0.5), p99, p99 / full_p99, phase.refused_ms.size(),
                phase.refused_ms.empty() ? 0.0 : Quantile(phase.refused_ms, 0.99), static_cast<long>(phase.other));
    document["phases"].push_back({{"load", phase.name},
                                  {"offered_per_second", phase.offered},
                                  {"answers_per_second", phase.admitted},
                                  {"admitted", phase.admitted_ms.size()},
                                  {"admitted_ms", Quantiles(phase.admitted_ms)},
                                  {"p99_over_full", p99 / full_p99},
                                  {"refused", phase.refused_ms.size()},
                                  {"refused_ms", Quantiles(phase.refused_ms)},
                                  {"other_errors", phase.other}});
  }
  WriteJson(settings.json, document);
  return 0;
}

int Main(int argc, char** argv) {
  CLI::App app{"What overload does to the admitted work: latency and refusals at multiples of the server's capacity (Score)"};
  Settings settings;
  app.add_option("--base", settings.base, "Hugging Face directory")->required();
  app.add_option("--context", settings.context, "tokens of a question")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--running", settings.running, "max_running_tasks")->check(CLI::Range(1, 1024))->capture_default_str();
  app.add_option("--queue", settings.queue, "max_queued_tasks; 0: the server's default")->check(CLI::NonNegativeNumber);
  app.add_option("--seconds", settings.seconds, "of each load")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--multiples", settings.multiples, "arrivals as multiples of the capacity")
      ->delimiter(',')
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--json", settings.json, "also write the figures here");
  CLI11_PARSE(app, argc, argv);
  return Run(settings);
}

}  // namespace
}  // namespace switchyard::bench

int main(int argc, char** argv) { return switchyard::bench::Main(argc, argv); }
