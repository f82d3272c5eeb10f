// switchyard-trainer: makes what the server loads.
#include <unistd.h>

#include <CLI/CLI.hpp>

#include <cstdio>
#include <cstdlib>

#include "trainer/commands/common.h"
#include "trainer/nn/heap.h"

namespace switchyard::trainer {
namespace {

// libgomp's spinning waits stall every parallel region as soon as another thread wants the core; it reads this before main, so start again.
void PassiveOpenMp(char** argv) {
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  setenv("GOMP_SPINCOUNT", "0", 1);
  execv("/proc/self/exe", argv);
}

int Main(int argc, char** argv) {
  PassiveOpenMp(argv);
  KeepFreedMemory();
  const auto world = WorldOfProcesses(&argc, &argv);
  CatchSignals();
  CLI::App app("Trains Switchyard's experts and routers");
  app.require_subcommand(1);
  app.set_version_flag("--version", "switchyard-trainer 0.1.0");
  Status result;
  AddExpertCommand(app, *world, &result);
  AddRouterCommand(app, *world, &result);
  AddCalibrateCommand(app, *world, &result);
  AddEvaluateCommand(app, *world, &result);
  AddCompareCommand(app, &result);
  AddPlacementCommand(app, *world, &result);
  AddDemoDataCommand(app, &result);
  AddImportCommand(app, &result);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;  // 0: --help, --version
  }
  if (result.ok()) return 0;
  std::fprintf(stderr, "switchyard-trainer: %s\n", std::string(Message(result)).c_str());
  if (absl::IsCancelled(result)) return 130;
  world->Abort();
  return 1;
}

}  // namespace
}  // namespace switchyard::trainer

int main(int argc, char** argv) { return switchyard::trainer::Main(argc, argv); }
