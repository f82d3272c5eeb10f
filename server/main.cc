// switchyard-server: parse, load, serve, drain.

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "server/administration.h"
#include "server/log.h"
#include "server/server.h"

namespace switchyard {
namespace {

volatile std::sig_atomic_t signals_seen = 0;
volatile std::sig_atomic_t serving = 0;
// Nobody waits for an answer before the server serves: then a signal ends the process at once.
void OnSignal(int signal) {
  if (serving == 0) _exit(128 + signal);
  signals_seen = signals_seen + 1;
}

void InstallSignals() {
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  for (const int signal : {SIGTERM, SIGINT}) sigaction(signal, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

// libgomp reads this in a load-time constructor, so it must be in the environment before the process starts: its default spinning stalls
// every parallel region as soon as another thread wants a core.
void EnsurePassiveOpenMp(char** argv) {
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  setenv("GOMP_SPINCOUNT", "0", 1);
  execv("/proc/self/exe", argv);  // returns only on failure: then the default stays
}

int Fail(const Status& status) {
  Log(LogLevel::kError, "cannot serve", {{"code", absl::StatusCodeToString(status.code())}, {"message", std::string(Message(status))}});
  return 1;
}

bool AnyUntrained(const CatalogView& view) {
  const auto untrained = [](const auto& part) { return part.untrained; };
  return std::any_of(view.experts.begin(), view.experts.end(), untrained) ||
         std::any_of(view.routers.begin(), view.routers.end(), untrained);
}

// The same as the load report says of a runner that brings everything itself.
void LogCatalog(const CatalogView& view) {
  int64_t expert_bytes = 0, router_bytes = 0;
  for (size_t i = 0; i < view.experts.size(); ++i) {
    expert_bytes += view.experts[i].bytes;
    for (const std::string& note : view.experts[i].notes)
      Log(LogLevel::kInfo, "load note", {{"expert", view.content.experts[i].name}, {"note", note}});
  }
  for (size_t i = 0; i < view.routers.size(); ++i) {
    router_bytes += view.routers[i].bytes;
    for (const std::string& note : view.routers[i].notes)
      Log(LogLevel::kInfo, "load note", {{"router", view.content.routers[i].name}, {"note", note}});
  }
  Log(LogLevel::kInfo, "catalog loaded",
      {{"revision", view.revision},
       {"experts", view.experts.size()},
       {"expert_bytes", expert_bytes},
       {"routers", view.routers.size()},
       {"router_bytes", router_bytes}});
}

void WarnOfUntrained(bool untrained) {
  if (!untrained) return;
  Log(LogLevel::kWarning, "untrained", {{"note", "an expert, the router or the base is a seeded fixture without training"}});
}

int Serve(const ServerOptions& options) {
  Log(LogLevel::kInfo, "configuration", nlohmann::ordered_json::parse(ConfigJson(options)));
  auto text = LoadServedText(options.runner.base_directory);
  if (!text.ok()) return Fail(text.status());
  // With a catalog the runner brings the base alone, and the catalog everything that may change.
  const bool changeable = !options.admin.empty() || !options.catalog.state_file.empty();
  RunnerOptions runner = options.runner;
  if (changeable) {
    runner.experts.clear();
    runner.router_directory.clear();
  }
  auto loaded = LoadRunner(runner);
  if (!loaded.ok()) return Fail(loaded.status());
  const LoadReport& report = loaded->report;
  for (const std::string& note : report.notes) Log(LogLevel::kInfo, "load note", {{"note", note}});
  Log(LogLevel::kInfo, "loaded",
      {{"seconds", report.seconds},
       {"dtype", report.base_dtype},
       {"isa", report.isa},
       {"base_bytes", report.base_bytes},
       {"expert_bytes", report.expert_bytes},
       {"router_bytes", report.router_bytes},
       {"kv_bytes", report.kv_bytes}});
  if (text->tokenizer->vocab_size() > loaded->runner->snapshot()->info().vocab_size) {
    return Fail(FailedPrecondition("%s: tokenizer.json has %d tokens, config.json a vocabulary of %d: they are not of one model",
                                   options.runner.base_directory, text->tokenizer->vocab_size(),
                                   loaded->runner->snapshot()->info().vocab_size));
  }
  auto engine = Engine::Create(options.engine, loaded->runner.get());
  if (!engine.ok()) return Fail(engine.status());
  text->engine = engine->get();
  text->dtype = report.base_dtype;
  text->untrained = report.untrained;
  const ResidentBytes resident{report.base_bytes, report.kv_bytes};
  std::unique_ptr<Administration> administration;
  if (changeable) {
    auto started =
        Administration::Start(options, loaded->builder.get(), engine->get(), [&](ServingSet set) { (*engine)->Publish(std::move(set)); });
    if (!started.ok()) return Fail(started.status());
    administration = *std::move(started);
    const CatalogView view = administration->catalog().Describe();
    LogCatalog(view);
    text->untrained |= AnyUntrained(view);
  }
  WarnOfUntrained(text->untrained);
  serving = 1;
  Administered administered;
  if (administration != nullptr) administered = {&administration->catalog(), &administration->divergence(), administration->authorizer()};
  auto server = Server::Start(options, *text, resident, administered);
  if (!server.ok()) return Fail(server.status());

  const auto snapshot = (*engine)->snapshot();
  const nlohmann::ordered_json announcement = {{"event", "serving"},
                                               {"grpc_port", (*server)->grpc_port()},
                                               {"metrics_port", (*server)->metrics_port()},
                                               {"health_port", (*server)->health_port()},
                                               {"admin_port", administration == nullptr ? 0 : administration->admin_port()},
                                               {"pid", getpid()},
                                               {"model", snapshot->info().base_name},
                                               {"generation", snapshot->info().generation}};
  std::printf("%s\n", announcement.dump().c_str());
  std::fflush(stdout);
  while (signals_seen == 0) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  if (administration != nullptr) administration->Stop();  // nothing changes any more
  Log(LogLevel::kInfo, "draining", {{"seconds", options.drain_seconds}});
  const Status drained = (*server)->Drain([] { return signals_seen > 1; });
  Log(drained.ok() ? LogLevel::kInfo : LogLevel::kWarning, "stopped", {{"complete", drained.ok()}});
  return 0;
}

}  // namespace
}  // namespace switchyard

int main(int argc, char** argv) {
  switchyard::EnsurePassiveOpenMp(argv);
  const switchyard::ParsedCommandLine parsed = switchyard::ParseCommandLine(argc, argv);
  if (parsed.exit_code) return *parsed.exit_code;
  switchyard::InstallSignals();
  return switchyard::Serve(parsed.options);
}
