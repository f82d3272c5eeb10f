// swap_soak: N clients (Generate, Score, Route, cancels) against a server in this process while its catalog swaps experts and routers M
// times, some of the artifacts broken in dozens of ways. Every answer is compared, bit for bit, with a quiet server that serves the
// generation the answer names. Prints a table, with --json FILE also JSON; exit code 1 when anything failed, was mixed, or did not come out
// as it must.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "tests/soak/rss_watch.h"
#include "tests/soak/soak_clients.h"
#include "tests/soak/soak_report.h"
#include "tests/soak/soak_server.h"
#include "tests/soak/soak_swapper.h"
#include "tests/testing/files.h"

namespace switchyard::soak {
namespace {

struct Flags {
  uint64_t swaps = 2000;
  int clients = 8;
  uint32_t seed = 1;
  std::string json;
};

// What was published, so that it can be put together again.
struct Recipe {
  std::vector<std::pair<std::string, std::string>> experts;  // name, generation
  std::string router;                                        // generation
};

std::shared_ptr<const Snapshot> Rebuild(FakeSnapshotBuilder& builder, const SoakArtifacts& artifacts, const Recipe& recipe) {
  SnapshotPlan plan;
  plan.allow_masking = true;
  for (const auto& [name, generation] : recipe.experts) {
    plan.experts.push_back({name, builder.LoadExpert(generation == "zero" ? "" : artifacts.directories().at(generation)).value()});
  }
  plan.router = builder.LoadRouter(artifacts.directories().at(recipe.router)).value();
  return builder.Build(plan).value();
}

// Answers that differ from what the quiet server says of the same generation, each in words.
std::vector<std::string> Mixed(const SoakClients& clients, const std::map<std::string, Recipe>& recipes, const SoakArtifacts& artifacts) {
  FakeSnapshotBuilder builder;
  builder.like_ = LikeSnapshot();
  std::vector<std::string> mixed;
  std::unique_ptr<SoakServer> quiet;
  std::unique_ptr<Asker> asker;
  std::string serving;
  for (const auto& [key, contents] : clients.seen()) {
    const auto& [generation, question] = key;
    const auto recipe = recipes.find(generation);
    if (recipe == recipes.end()) {
      mixed.push_back("an answer names generation \"" + generation + "\", which was never published");
      continue;
    }
    if (serving != generation) {
      auto snapshot = Rebuild(builder, artifacts, recipe->second);
      if (snapshot->info().generation != generation) mixed.push_back(generation + " rebuilt is " + snapshot->info().generation);
      if (quiet == nullptr) {
        quiet = std::make_unique<SoakServer>(snapshot);
        asker = std::make_unique<Asker>(quiet->address());
      }
      ServingSet set;
      set.stable = std::move(snapshot);
      quiet->Publish(std::move(set));
      serving = generation;
    }
    Answer expected;
    const grpc::Status status = asker->Ask(question, &expected);
    if (!status.ok()) mixed.push_back("quiet run: " + status.error_message());
    for (const std::string& content : contents) {
      if (content != expected.content)
        mixed.push_back(absl::StrFormat("question %d on %s differs from the quiet run", question, generation));
    }
  }
  return mixed;
}

void PrintAll(const char* what, const std::vector<std::string>& lines) {
  for (const std::string& line : lines) std::fprintf(stderr, "%s: %s\n", what, line.c_str());
}

int Soak(const Flags& flags) {
  const TempDir dir;
  const SoakArtifacts artifacts(dir.File("artifacts"));
  FakeSnapshotBuilder builder;
  builder.like_ = LikeSnapshot();
  CatalogOptions options;
  options.artifact_root = artifacts.root();
  options.state_file = dir.File("state.json");
  options.budget.memory_bytes = int64_t{1} << 40;

  std::map<std::string, Recipe> recipes;
  std::unique_ptr<SoakServer> server;
  auto catalog = Catalog::Create(options, &builder, artifacts.Initial(), [&](ServingSet set) {
    const SnapshotInfo& info = set.stable->info();
    Recipe recipe{{}, info.router_generation};
    for (const auto& expert : info.experts) recipe.experts.emplace_back(expert.name, expert.generation);
    recipes[info.generation] = std::move(recipe);
    if (server == nullptr) {
      server = std::make_unique<SoakServer>(set.stable);
    } else {
      server->Publish(std::move(set));
    }
  });
  if (!catalog.ok()) {
    std::fprintf(stderr, "swap_soak: %s\n", catalog.status().ToString().c_str());
    return 1;
  }
  SoakClients clients(server->address(), flags.clients, flags.seed);
  const auto begin = std::chrono::steady_clock::now();
  RssWatch rss("self", flags.swaps);
  const SwapFigures figures =
      RunSwaps(**catalog, artifacts, flags.swaps, flags.seed, [&](uint64_t swaps) { rss.Sample(swaps, clients.noted_bytes()); });
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  clients.Stop();
  const std::vector<std::string> violations = server->violations();
  const uint64_t last_revision = (*catalog)->Describe().revision;
  (*catalog)->Stop();
  const auto persisted = ReadState(*FileSystem::Real(), options.state_file);
  std::vector<std::string> wrong = figures.wrong;
  if (!persisted.ok() || persisted->revision != last_revision) wrong.push_back("the state file is not at the last revision");
  const std::vector<std::string> mixed = Mixed(clients, recipes, artifacts);
  if (!rss.flat()) wrong.push_back(absl::StrFormat("memory grew from %d to %d bytes", rss.first_half(), rss.second_half()));
  catalog->reset();
  server.reset();
  if (*builder.live_parts != 0 || *builder.live_snapshots != 0) {
    wrong.push_back(
        absl::StrFormat("%d parts and %d snapshots were never freed", builder.live_parts->load(), builder.live_snapshots->load()));
  }

  nlohmann::ordered_json report = {{"swaps", figures.swaps},
                                   {"unchanged", figures.unchanged},
                                   {"broken_ways", figures.broken_ways},
                                   {"refused", figures.refused},
                                   {"refused_at", figures.refused_at},
                                   {"seconds", seconds},
                                   {"clients", flags.clients},
                                   {"answers", clients.answers()},
                                   {"cancelled", clients.cancelled()},
                                   {"generations_answered", 0},
                                   {"failed", clients.failures().size()},
                                   {"mixed", mixed.size()},
                                   {"violations", violations.size()},
                                   {"wrong_operations", wrong.size()},
                                   {"rss_first_half_bytes", rss.first_half()},
                                   {"rss_second_half_bytes", rss.second_half()},
                                   {"noted_by_the_soak_bytes", clients.noted_bytes()},
                                   {"request", Times(clients.latencies_ms())}};
  std::set<std::string> generations;
  for (const auto& [key, contents] : clients.seen()) generations.insert(key.first);
  report["generations_answered"] = generations.size();
  for (const auto& [step, values] : figures.step_ms) report["steps"][step] = Times(values);
  std::printf("%s\n", report.dump(2).c_str());
  if (!flags.json.empty()) std::ofstream(flags.json) << report.dump(2) << "\n";
  PrintAll("failed", clients.failures());
  PrintAll("mixed", mixed);
  PrintAll("violation", violations);
  PrintAll("wrong", wrong);
  const bool good = clients.failures().empty() && mixed.empty() && violations.empty() && wrong.empty() && clients.answers() > 0;
  return good ? 0 : 1;
}

}  // namespace
}  // namespace switchyard::soak

int main(int argc, char** argv) {
  switchyard::soak::Flags flags;
  for (int i = 1; i < argc; i += 2) {
    const std::string flag = argv[i], value = i + 1 < argc ? argv[i + 1] : "";
    if (flag == "--swaps" && !value.empty()) {
      flags.swaps = std::strtoull(value.c_str(), nullptr, 10);
    } else if (flag == "--clients" && !value.empty()) {
      flags.clients = std::atoi(value.c_str());
    } else if (flag == "--seed" && !value.empty()) {
      flags.seed = static_cast<uint32_t>(std::strtoul(value.c_str(), nullptr, 10));
    } else if (flag == "--json" && !value.empty()) {
      flags.json = value;
    } else {
      std::fprintf(stderr, "usage: swap_soak [--swaps N] [--clients N] [--seed N] [--json FILE]\n");
      return 2;
    }
  }
  return switchyard::soak::Soak(flags);
}
